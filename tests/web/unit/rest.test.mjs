// REST: what is repeated and what is not, and where the key goes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Refusal, Rest, newClientOrderId } from "../../../gateway/static/trade/rest.js";

/** A Rest whose exchange gives these answers one after the other: [status, body, headers], or an Error. */
function played(...answers) {
  const asked = [];
  const slept = [];
  let time = 0;
  const rest = new Rest({
    now: () => time,
    sleep: async (ms) => {
      slept.push(ms);
      time += ms;
    },
    fetch: async (path, options) => {
      asked.push({ path, ...options });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer instanceof Error) throw answer;
      const [status, body, headers = {}] = answer;
      return new Response(status === 204 ? null : typeof body === "string" ? body : JSON.stringify(body), { status, headers });
    },
  });
  return { rest, asked, slept };
}

const ORDER = { side: "buy", price: "100.10", client_order_id: "web-1" };

test("a command is answered with how long it took", async () => {
  const { rest, asked } = played([201, { order_id: 7 }]);
  const { content, milliseconds } = await rest.command("POST", "/orders", ORDER);
  assert.deepEqual(content, { order_id: 7 });
  assert.equal(milliseconds, 0);
  assert.equal(asked[0].body, '{"side":"buy","price":"100.10","client_order_id":"web-1"}');
  assert.equal(asked[0].headers["Content-Type"], "application/json");
});

test("without an answer the very same is asked again", async () => {
  const unknown = { code: "result_unknown", detail: "?" };
  const { rest, asked, slept } = played(
    new TypeError("network"), [503, { code: "overloaded" }, { "Retry-After": "2" }], [504, unknown], [502, "<html>"], [201, {}],
  );
  const waits = [];
  await rest.command("POST", "/orders", ORDER, (refusal) => waits.push(refusal.code));
  assert.deepEqual(slept, [300, 2000, 300, 300]);
  assert.deepEqual(waits, ["unreachable", "overloaded", "result_unknown", "unknown"]);
  assert.equal(new Set(asked.map((each) => each.body)).size, 1);
});

test("the exchange's no is final", async () => {
  for (const status of [400, 401, 403, 409, 422, 429, 500]) {
    const { rest, asked } = played([status, { code: "no", detail: "No.", field: "price" }]);
    await assert.rejects(rest.command("POST", "/orders", ORDER), (error) => {
      assert.ok(error instanceof Refusal);
      assert.deepEqual([error.status, error.code, error.message, error.field], [status, "no", "No.", "price"]);
      return true;
    });
    assert.equal(asked.length, 1);
  }
});

test("it is not asked for ever", async () => {
  const { rest, slept } = played(new TypeError("network"));
  await assert.rejects(rest.command("DELETE", "/orders/1"), { code: "result_unknown" });
  assert.ok(slept.length > 10 && slept.length <= 50);
});

test("what may have been done is unknown, whatever the last attempt says of itself", async () => {
  const busy = [503, { code: "overloaded" }, { "Retry-After": "1" }];
  await assert.rejects(played(busy).rest.command("POST", "/orders", ORDER), { code: "overloaded" });
  await assert.rejects(played([504, {}], busy).rest.command("POST", "/orders", ORDER), { code: "result_unknown" });
  await assert.rejects(played([504, {}], [422, { code: "off_tick" }]).rest.command("POST", "/orders", ORDER), { code: "off_tick" });
});

test("the key goes with what is one's own, not with public reads", async () => {
  const { rest, asked } = played([200, {}]);
  rest.key = playedKey();
  await rest.read("/trades");
  await rest.readOwn("/orders");
  await rest.command("PUT", "/orders/1", { price: "1" });
  const signed = asked.map((each) => each.headers.Signed);
  assert.deepEqual(signed, [undefined, "1 GET /orders undefined", '2 PUT /orders/1 {"price":"1"}']);
});

/** A key whose signatures can be read. */
function playedKey() {
  let count = 0;
  const times = [];
  const headers = async (...request) => ({ Signed: [++count, ...request].map(String).join(" ") });
  return { times, now: 5, headers, learnTime: (...learnt) => times.push(learnt) };
}

test("a signature that came too late is made again, with the time that the answer told", async () => {
  const late = [401, { code: "timestamp_outside_window" }, { Date: "noon" }];
  const { rest, asked } = played(late, [201, {}, { Date: "later" }], late, [200, { items: [] }]);
  rest.key = playedKey();
  await rest.command("POST", "/orders", ORDER);
  await rest.readOwn("/orders");
  assert.deepEqual(asked.map((each) => each.headers.Signed[0]), ["1", "2", "3", "4"]);
  assert.deepEqual(rest.key.times.slice(0, 2), [["noon", 5], ["later", 5]]);
});

test("a signature that is never taken was for nothing, and that is known", async () => {
  const { rest } = played([401, { code: "timestamp_outside_window" }]);
  rest.key = playedKey();
  await assert.rejects(rest.command("POST", "/orders", ORDER), { code: "timestamp_outside_window" });
  await assert.rejects(rest.readOwn("/orders"), { code: "timestamp_outside_window" });
});

test("a page of a proxy in place of JSON is a refusal", async () => {
  const { rest } = played([200, "<html>"]);
  await assert.rejects(rest.read("/trades"), Refusal);
});

test("names of orders are such that the exchange takes them, and differ", () => {
  const names = new Set(Array.from({ length: 1000 }, newClientOrderId));
  assert.equal(names.size, 1000);
  for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{1,64}$/);
});
