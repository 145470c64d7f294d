// Decimals: exact, whatever their size, and never rounded.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NotDecimal, OffStep, Step, fitted, grouped, shortened, trimmed } from "../../../gateway/static/trade/decimals.js";

const cent = Step.of("0.01");

test("a price is read into whole ticks and written back with all decimals", () => {
  assert.equal(cent.parse("100.1"), 10010n);
  assert.equal(cent.format(10010n), "100.10");
  assert.equal(cent.parse(" 7. "), 700n);
  assert.equal(cent.parse(".5"), 50n);
  assert.equal(cent.parse("1.10000"), 110n);
  assert.equal(cent.format(3), "0.03");
  assert.equal(cent.format(0n), "0.00");
});

test("digits that no float holds stay as they are", () => {
  const lot = Step.of("0.00000001");
  for (const text of ["0.10000001", "9007199254740993.00000001", "0.30000000", "10000.00000001"]) {
    assert.equal(lot.format(lot.parse(text)), text);
  }
  assert.equal(Step.of("0.1").parse("0.3"), 3n); // 0.3 / 0.1 is 2.9999999999999996
  assert.equal(cent.parse("1.15"), 115n); // 1.15 * 100 is 114.99999999999999
});

test("steps that are no power of ten", () => {
  const step = Step.of("0.05");
  assert.equal(step.parse("1.15"), 23n);
  assert.equal(step.format(23n), "1.15");
  assert.throws(() => step.parse("1.12"), OffStep);
  assert.deepEqual(step.nearest("1.12").map((each) => step.format(each)), ["1.10", "1.15"]);
  assert.equal(Step.of("25").parse("100"), 4n);
  assert.throws(() => Step.of("25").parse("110"), OffStep);
  assert.equal(Step.of("25").format(4n), "100");
});

test("what lies between two steps is refused, and the neighbours named", () => {
  assert.throws(() => cent.parse("100.001"), OffStep);
  assert.deepEqual(cent.nearest("100.001"), [10000n, 10001n]);
  assert.deepEqual(cent.nearest("100.01"), [10001n]);
});

test("what is no plain number is refused", () => {
  for (const text of ["", " ", ".", "-1", "+1", "1e2", "1,000", "1 000", "0x10", "NaN", "Infinity", "１", "1".repeat(41)]) {
    assert.throws(() => cent.parse(text), NotDecimal, text);
  }
});

test("price times quantity", () => {
  const notional = cent.times(Step.of("0.001"));
  assert.equal(notional.format(cent.parse("100.10") * Step.of("0.001").parse("1.5")), "150.15000");
});

test("for the eye", () => {
  assert.equal(trimmed("4.50000000"), "4.5");
  assert.equal(trimmed("4.00"), "4");
  assert.equal(trimmed("400"), "400");
  assert.equal(shortened("1.23456", 4), "1.2345");
  assert.equal(shortened("1.2", 4), "1.2");
  assert.equal(shortened("0.00001", 4), "<0.0001");
  assert.equal(shortened("0.00000", 4), "0.0000");
  assert.equal(shortened("12.9", 0), "12");
  for (const [text, characters, shown] of [
    ["1.23456789", 10, "1.2345"], ["123456.78901", 10, "123456.789"], ["1234567890.5", 10, "1234567890"],
    ["12345678901", 10, "12.345678B"], ["1234567.8", 5, "1.23M"], ["123456", 5, "123K"], ["0.00001", 10, "<0.0001"],
    ["999999999999999", 5, "999T"],
  ]) {
    assert.equal(fitted(text, 4, characters), shown);
  }
  assert.equal(grouped("1234567.125"), "1,234,567.125");
  assert.equal(grouped("999"), "999");
});
