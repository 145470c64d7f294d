// Own orders and fills, told in whatever order.

import assert from "node:assert/strict";
import { test } from "node:test";

import { OwnOrders } from "../../../gateway/static/trade/own_orders.js";

const order = (order_id, sequence, status = "open", more = {}) => ({ order_id, sequence, status, ...more });
const update = (sequence, index, event, changed, trade = null) => ({ type: "update", sequence, index, event, order: changed, trade });
const snapshot = (sequence, orders, more = false) => ({ type: "snapshot", sequence, orders, more });
const trade = (trade_id) => ({ trade_id });
const ids = (own) => own.open().map((each) => each.order_id);

test("a snapshot, in parts, and what comes after it", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, [order(1, 3)], true));
  assert.ok(!own.isKnown);
  own.snapshot(snapshot(10, [order(2, 9)]));
  assert.ok(own.isKnown);
  assert.deepEqual(ids(own), [2, 1]);
  assert.ok(own.update(update(11, 0, "accepted", order(3, 11))));
  assert.ok(own.update(update(11, 1, "canceled", order(1, 11, "canceled"))));
  assert.deepEqual(ids(own), [3, 2]);
});

test("what is here already is not taken twice", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, []));
  assert.ok(!own.update(update(10, 5, "accepted", order(1, 10))));
  assert.ok(own.update(update(12, 1, "accepted", order(2, 12))));
  assert.ok(!own.update(update(12, 1, "accepted", order(2, 12))));
  assert.ok(!own.update(update(12, 0, "accepted", order(9, 12))));
  assert.ok(own.update(update(12, 2, "accepted", order(3, 12))));
  assert.deepEqual(ids(own), [3, 2]);
});

test("an order that a later snapshot does not have is open no longer", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, [order(1, 3), order(2, 4)]));
  own.told(order(3, 30));
  own.snapshot(snapshot(20, [order(2, 4)]));
  assert.deepEqual(ids(own), [3, 2]);
});

test("an answer that is ahead of the stream stands", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, [order(1, 5)]));
  own.told(order(1, 14, "canceled"));
  own.update(update(12, 0, "trade", order(1, 12, "partially_filled"), trade(7)));
  assert.deepEqual(ids(own), []);
  assert.deepEqual(own.fills.map((fill) => fill.trade.trade_id), [7]);
});

test("a late answer does not undo what the stream has told", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, []));
  own.update(update(11, 0, "accepted", order(1, 11)));
  own.update(update(13, 0, "trade", order(1, 13, "filled"), trade(1)));
  own.told(order(1, 11));
  assert.deepEqual(ids(own), []);
});

test("within one commit the stream goes on from the answer", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, []));
  own.told(order(1, 11));
  own.update(update(11, 0, "accepted", order(1, 11)));
  own.update(update(11, 1, "trade", order(1, 11, "filled"), trade(1)));
  assert.deepEqual(ids(own), []);
});

test("fills are there once, newest first, both sides of a trade with oneself", () => {
  const own = new OwnOrders();
  for (const [id, of] of [[5, 1], [3, 1], [9, 2], [5, 1], [5, 2]]) own.filled(order(of, 1), trade(id));
  assert.deepEqual(own.fills.map((fill) => fill.key), ["9/2", "5/2", "5/1", "3/1"]);
});

test("neither fills nor closed orders grow without end", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(1, [order(1, 1)]));
  for (let at = 2; at < 2000; at++) {
    own.update(update(at, 0, "trade", order(at, at, "filled"), trade(at)));
  }
  assert.ok(own.fills.length <= 100);
  assert.ok(own.orders.size <= 250);
  assert.deepEqual(ids(own), [1]);
});

test("a heartbeat moves the place to go on from, and nothing else", () => {
  const own = new OwnOrders();
  own.snapshot(snapshot(10, [order(1, 3)]));
  own.reached(15);
  assert.deepEqual([own.sequence, own.index], [15, null]);
  own.reached(12);
  assert.equal(own.sequence, 15);
  assert.ok(!own.update(update(14, 0, "canceled", order(1, 14, "canceled"))));
  assert.ok(own.update(update(16, 0, "canceled", order(1, 16, "canceled"))));
});
