// What the form sends, and what it refuses to send.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Rules, TYPES, checkAmendment, checkOrder, closedBecause } from "../../../gateway/static/trade/order_rules.js";

const GOLD = {
  symbol: "GOLD-USD",
  tick_size: "0.05",
  lot_size: "0.001",
  min_quantity: "0.010",
  max_quantity: "100.000",
  status: "trading",
  lowest_price: null,
  highest_price: null,
  band_basis_points: null,
};
const NOW = Date.parse("2026-11-21T12:00:00Z");
const rules = (changes = {}) => new Rules({ ...GOLD, ...changes });
const form = (fields = {}) => ({ side: "buy", type: "limit", time_in_force: "GTC", price: "10.10", quantity: "2", ...fields });
const check = (fields, changes) => checkOrder(form(fields), rules(changes), NOW);
const wrong = (fields, changes) => Object.keys(check(fields, changes).errors);

test("a plain limit order, its decimals as the exchange writes them", () => {
  const { body, errors } = check({ price: " 10.1", account: "anna", self_trade_prevention: "none" });
  assert.deepEqual(errors, {});
  assert.deepEqual(body, {
    symbol: "GOLD-USD", side: "buy", type: "limit", price: "10.10", quantity: "2.000", time_in_force: "GTC", account: "anna",
  });
});

test("prices and quantities are texts to the last digit", () => {
  const { body } = check({ price: "20000000000000.05", quantity: "99.999" });
  assert.equal(body.price, "20000000000000.05");
  assert.equal(body.quantity, "99.999");
});

test("faults are named by their field", () => {
  assert.deepEqual(wrong({ price: "" }), ["price"]);
  assert.deepEqual(wrong({ price: "10.11" }), ["price"]);
  assert.deepEqual(wrong({ price: "0" }), ["price"]);
  assert.deepEqual(wrong({ price: "ten" }), ["price"]);
  assert.deepEqual(wrong({ quantity: "0.009" }), ["quantity"]);
  assert.deepEqual(wrong({ quantity: "100.001" }), ["quantity"]);
  assert.deepEqual(wrong({ quantity: "1.0001" }), ["quantity"]);
  assert.deepEqual(wrong({ account: "an na" }), ["account"]);
  assert.match(check({ price: "10.11" }).errors.price, /0\.05: 10\.10 or 10\.15/);
});

test("the static price band", () => {
  const band = { lowest_price: "9.00", highest_price: "11.00" };
  assert.deepEqual(wrong({ price: "9.00" }, band), []);
  assert.deepEqual(wrong({ price: "8.95" }, band), ["price"]);
  assert.deepEqual(wrong({ price: "11.05" }, band), ["price"]);
  assert.deepEqual(wrong({ type: "stop", stop_price: "50" }, band), []);
});

test("a market order has a quantity or an amount", () => {
  const market = { type: "market", time_in_force: "IOC" };
  assert.deepEqual(check(market).body, {
    symbol: "GOLD-USD", side: "buy", type: "market", quantity: "2.000", time_in_force: "IOC",
  });
  assert.equal(check({ ...market, quantity: "", notional: "500" }).body.notional, "500.00000");
  assert.deepEqual(wrong({ ...market, quantity: "1", notional: "500" }), ["notional"]);
  assert.deepEqual(wrong({ ...market, quantity: "" }), ["quantity"]);
  assert.deepEqual(wrong({ ...market, quantity: "", notional: "0.000001" }), ["notional"]);
  assert.deepEqual(wrong({ ...market, time_in_force: "FOK", quantity: "", notional: "5" }), ["time_in_force"]);
  assert.deepEqual(wrong({ ...market, time_in_force: "GTD" }), ["time_in_force"]);
});

test("what a type does not have is not sent, whatever is in the field", () => {
  const all = { stop_price: "9", display_quantity: "1", protection_price: "11", notional: "5", post_only: true };
  assert.deepEqual(Object.keys(check(all).body).sort(), [
    "display_quantity", "post_only", "price", "quantity", "side", "symbol", "time_in_force", "type",
  ]);
  const stop = check({ ...all, type: "stop", notional: "" });
  assert.equal(stop.body.stop_price, "9.00");
  assert.equal(stop.body.protection_price, "11.00");
  assert.ok(!("price" in stop.body) && !("post_only" in stop.body));
  assert.equal(check({ ...all, type: "stop_limit" }).body.price, "10.10");
});

test("every type of the exchange is there", () => {
  assert.deepEqual(Object.keys(TYPES), ["limit", "market", "stop", "stop_limit"]);
});

test("icebergs and post-only orders must be able to rest", () => {
  assert.deepEqual(wrong({ display_quantity: "0.5" }), []);
  assert.deepEqual(wrong({ display_quantity: "2.5" }), ["display_quantity"]);
  assert.deepEqual(wrong({ display_quantity: "0.001" }), ["display_quantity"]);
  assert.deepEqual(wrong({ display_quantity: "0.5", time_in_force: "IOC" }), ["display_quantity"]);
  assert.deepEqual(wrong({ post_only: true, time_in_force: "FOK" }), ["post_only"]);
  assert.equal(check({ post_only: true, time_in_force: "DAY" }).body.post_only, true);
});

test("good till date needs a time to come", () => {
  assert.deepEqual(wrong({ time_in_force: "GTD" }), ["expires_at"]);
  assert.deepEqual(wrong({ time_in_force: "GTD", expires_at: "2026-11-21T11:59:59Z" }), ["expires_at"]);
  const { body } = check({ time_in_force: "GTD", expires_at: "2026-11-21T12:00:01Z" });
  assert.equal(body.expires_at, "2026-11-21T12:00:01.000Z");
  assert.ok(!("expires_at" in check({ expires_at: "2026-11-21T12:00:01Z" }).body));
});

test("self-trade prevention is named when it is not the default", () => {
  assert.equal(check({ self_trade_prevention: "decrement" }).body.self_trade_prevention, "decrement");
});

test("an instrument that takes nothing", () => {
  for (const status of ["halted", "cancel_only", "delisted"]) assert.ok(closedBecause({ ...GOLD, status }), status);
  for (const status of ["trading", "post_only"]) assert.equal(closedBecause({ ...GOLD, status }), null);
  assert.deepEqual(wrong({ type: "market", time_in_force: "IOC" }, { status: "post_only" }), ["type"]);
});

test("an amendment says what differs", () => {
  const order = { price: "10.10", quantity: "2.000", stop_price: null };
  assert.deepEqual(checkAmendment(order, { price: "10.10", quantity: "2" }, rules()), { body: {}, errors: {} });
  assert.deepEqual(checkAmendment(order, { price: "10.2", quantity: "2" }, rules()).body, { price: "10.20" });
  assert.deepEqual(checkAmendment(order, { price: "10.2", quantity: "1.5" }, rules()).body, { price: "10.20", quantity: "1.500" });
  assert.deepEqual(Object.keys(checkAmendment(order, { price: "x", quantity: "1.5" }, rules()).errors), ["price"]);
});
