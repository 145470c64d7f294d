// The key: what is signed is what the exchange checks, by the example of docs/access.md, and the clocks may differ.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { test } from "node:test";

import { ApiKey } from "../../../gateway/static/trade/api_key.js";

const ID = "0123456789ab";
const SECRET = "fe".repeat(32);
const TEXT = `pt_${ID}_${SECRET}`;
const NOON = Date.parse("2026-11-21T12:00:00Z");

/** By the words of docs/access.md, with another library. */
function expected(timestamp, method, target, body = "") {
  const signingKey = createHash("sha256").update(SECRET).digest("hex");
  return createHmac("sha256", signingKey).update(`${timestamp}\n${method}\n${target}\n${body}`).digest("hex");
}

const at = (time) => ApiKey.parse(TEXT, { now: () => time });

test("only a whole key is one", () => {
  assert.equal(ApiKey.parse(TEXT).id, ID);
  for (const text of ["", "anna", `pt_${ID}`, `pt_${ID}_nonsense`, `${TEXT}0`, ` ${TEXT}`, TEXT.toUpperCase()]) {
    assert.equal(ApiKey.parse(text), null, text);
  }
});

test("a request is signed, and the secret is not in it", async () => {
  const body = '{"side":"buy","account":"änna"}';
  const headers = await at(NOON).headers("POST", "/orders?symbol=TIN", body);
  assert.deepEqual(headers, {
    "Pricetime-Key": `pt_${ID}`,
    "Pricetime-Timestamp": String(NOON),
    "Pricetime-Signature": expected(NOON, "POST", "/orders?symbol=TIN", body),
  });
  const { signature, ...fields } = await at(NOON).fields();
  assert.deepEqual(fields, { key_id: `pt_${ID}`, timestamp: String(NOON) });
  assert.equal(signature, expected(NOON, "GET", "/ws"));
});

test("the path is signed as a browser writes it", async () => {
  const headers = await at(NOON).headers("GET", "/orders?account=a b'c");
  assert.equal(headers["Pricetime-Signature"], expected(NOON, "GET", "/orders?account=a%20b%27c"));
});

test("the same request twice has two signatures", async () => {
  const key = at(NOON);
  const [one, other] = [await key.headers("GET", "/orders"), await key.headers("GET", "/orders")];
  assert.notEqual(one["Pricetime-Signature"], other["Pricetime-Signature"]);
});

test("where the browser cannot sign the key is sent", async () => {
  const plain = ApiKey.parse(TEXT, { subtle: null });
  assert.equal(plain.signs, false);
  assert.deepEqual(await plain.headers("GET", "/orders"), { Authorization: `Bearer ${TEXT}` });
  assert.deepEqual(await plain.fields(), { key: TEXT });
});

async function timestampAfter(time, date, askedAt = time) {
  const key = at(time);
  const wasWrong = key.learnTime(date, askedAt);
  return [wasWrong, Number((await key.fields()).timestamp) - NOON];
}

test("a clock that may be right is left alone", async () => {
  const date = new Date(NOON).toUTCString();
  assert.deepEqual(await timestampAfter(NOON, date), [false, 0]);
  assert.deepEqual(await timestampAfter(NOON + 1_900, date), [false, 1_900]); // Date is of the last whole second
  assert.deepEqual(await timestampAfter(NOON + 9_000, date, NOON + 100), [false, 9_000]); // the answer took long
  assert.deepEqual(await timestampAfter(NOON, null), [false, 0]);
});

test("a clock that is wrong is put right, within a second or so", async () => {
  for (const wrong of [-86_400_000, -60_000, 60_000, 86_400_000]) {
    const [wasWrong, off] = await timestampAfter(NOON + wrong, new Date(NOON).toUTCString());
    assert.ok(wasWrong);
    assert.ok(off >= 0 && off <= 2_000, `${wrong}: ${off}`);
  }
});
