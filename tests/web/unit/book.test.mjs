// The book: folding snapshots and differences, and grouping.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Book, groupings } from "../../../gateway/static/trade/book.js";
import { Step } from "../../../gateway/static/trade/decimals.js";

const SNAPSHOT = {
  type: "snapshot",
  last_sequence: 10,
  bids: [["100.00", "1"], ["99.98", "2"], ["99.91", "3"], ["99.40", "4"]],
  asks: [["100.03", "1"], ["100.10", "5"], ["100.11", "2"]],
};

function book(levels = 1000) {
  const made = new Book(Step.of("0.01"), Step.of("1"), levels);
  made.reset(SNAPSHOT);
  return made;
}

const change = (first, last, bids = [], asks = []) => ({ first_sequence: first, last_sequence: last, bids, asks });
const plain = (rows) => rows.map(({ ticks, lots, total }) => [ticks, Number(lots), Number(total)]);

test("a snapshot replaces everything", () => {
  const made = book();
  made.reset({ ...SNAPSHOT, last_sequence: 3, asks: [] });
  assert.equal(made.asks.length, 0);
  assert.equal(made.lastSequence, 3);
  assert.deepEqual(made.bids.prices, [10000, 9998, 9991, 9940]);
});

test("differences set, add and remove levels, best first", () => {
  const made = book();
  assert.ok(made.apply(change(11, 14, [["100.00", "0"], ["99.99", "7"], ["1.00", "1"]], [["100.03", "9"], ["100.02", "1"]])));
  assert.deepEqual(made.bids.prices, [9999, 9998, 9991, 9940, 100]);
  assert.deepEqual(made.asks.prices, [10002, 10003, 10010, 10011]);
  assert.deepEqual(made.asks.lots.map(Number), [1, 9, 5, 2]);
  assert.equal(made.lastSequence, 14);
});

test("removing a level that is not there does nothing", () => {
  const made = book();
  assert.ok(made.apply(change(11, 11, [["55.00", "0"]])));
  assert.equal(made.bids.length, 4);
});

test("a gap, and what comes before any snapshot, changes nothing", () => {
  const made = book();
  assert.ok(!made.apply(change(12, 12, [["100.00", "0"]])));
  assert.equal(made.lastSequence, 10);
  assert.equal(made.bids.length, 4);
  const fresh = new Book(Step.of("0.01"), Step.of("1"), 10);
  assert.ok(!fresh.apply(change(1, 1, [["1.00", "1"]])));
});

test("ungrouped rows are the levels with running totals", () => {
  assert.deepEqual(plain(book().rows("ask", 1, 10)), [[10003, 1, 1], [10010, 5, 6], [10011, 2, 8]]);
  assert.deepEqual(plain(book().rows("bid", 1, 2)), [[10000, 1, 1], [9998, 2, 3]]);
});

test("groups never promise a better price: bids go down to their edge, asks up", () => {
  assert.deepEqual(plain(book().rows("bid", 10, 10)), [[10000, 1, 1], [9990, 5, 6], [9940, 4, 10]]);
  assert.deepEqual(plain(book().rows("ask", 10, 10)), [[10010, 6, 6], [10020, 2, 8]]);
});

test("a group is complete even if it is the last to be shown", () => {
  assert.deepEqual(plain(book().rows("bid", 10, 2)), [[10000, 1, 1], [9990, 5, 6]]);
});

test("the last group of a book that goes on beyond what is known is left out", () => {
  assert.deepEqual(plain(book(4).rows("bid", 10, 10)), [[10000, 1, 1], [9990, 5, 6]]);
  assert.equal(book(4).rows("bid", 1, 10).length, 4);
});

test("what taking so much would cost", () => {
  assert.equal(book().costOf("buy", 3n), 10003n + 2n * 10010n);
  assert.equal(book().costOf("sell", 1n), 10000n);
  assert.equal(book().costOf("buy", 9n), null);
});

test("groupings for a price", () => {
  assert.deepEqual(groupings(6214550), [1, 10, 50, 100, 500, 1000, 5000, 10000, 50000, 100000, 500000]);
  assert.deepEqual(groupings(100), [1]);
});

test("folding at random is what a map would have", () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const made = new Book(Step.of("0.01"), Step.of("1"), 1000);
  made.reset({ last_sequence: 0, bids: [], asks: [] });
  const expected = { bids: new Map(), asks: new Map() };
  for (let sequence = 1; sequence <= 5000; sequence++) {
    const side = random(2) ? "bids" : "asks";
    const [ticks, lots] = [1 + random(300), random(3)];
    if (lots === 0) expected[side].delete(ticks);
    else expected[side].set(ticks, BigInt(lots));
    const level = [made.tick.format(ticks), String(lots)];
    assert.ok(made.apply({ first_sequence: sequence, last_sequence: sequence, bids: [], asks: [], [side]: [level] }));
  }
  for (const side of ["bids", "asks"]) {
    const sign = side === "bids" ? -1 : 1;
    const sorted = [...expected[side]].sort(([one], [other]) => sign * (one - other));
    assert.deepEqual(made[side].prices, sorted.map(([ticks]) => ticks));
    assert.deepEqual(made[side].lots, sorted.map(([, lots]) => lots));
  }
});
