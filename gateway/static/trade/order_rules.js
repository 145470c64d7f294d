// What an order may say, checked before it is sent, in the words of the form. The exchange checks all of it again: this
// is here so that a slip is seen where it was made, and nothing is rounded silently. Pure.

import { NotDecimal, OffStep, Step } from "./decimals.js";

const MAX_PRICE = 10n ** 15n; // ticks
const MAX_NOTIONAL = 10n ** 18n; // ticks times lots
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const RESTS = new Set(["GTC", "GTD", "DAY"]);

/** Of each type: the fields of the form, and how long it may wait; the first is what it begins with. */
export const TYPES = {
  limit: {
    fields: ["price", "quantity", "display_quantity", "post_only"],
    times: ["GTC", "IOC", "FOK", "GTD", "DAY"],
  },
  market: { fields: ["quantity", "notional", "protection_price"], times: ["IOC", "FOK"] },
  stop: { fields: ["stop_price", "quantity", "protection_price"], times: ["GTC", "IOC", "FOK", "GTD", "DAY"] },
  stop_limit: {
    fields: ["stop_price", "price", "quantity", "display_quantity"],
    times: ["GTC", "IOC", "FOK", "GTD", "DAY"],
  },
};

const LABELS = {
  price: "Price",
  quantity: "Quantity",
  notional: "Amount",
  stop_price: "Stop price",
  display_quantity: "Display quantity",
  protection_price: "Protection price",
};

/** Why nothing at all can be placed in the instrument, or null. */
export function closedBecause(instrument) {
  switch (instrument.status) {
    case "halted":
      return `${instrument.symbol} is halted: nothing can be placed, amended or canceled.`;
    case "cancel_only":
      return `${instrument.symbol} is cancel-only: orders can be canceled, none placed.`;
    case "delisted":
      return `${instrument.symbol} is delisted.`;
    default:
      return null;
  }
}

/** The rules of one instrument, ready to use. */
export class Rules {
  constructor(instrument) {
    this.instrument = instrument;
    this.tick = Step.of(instrument.tick_size);
    this.lot = Step.of(instrument.lot_size);
    this.notional = this.tick.times(this.lot);
    this.leastLots = this.lot.parse(instrument.min_quantity);
    this.mostLots = this.lot.parse(instrument.max_quantity);
  }

  /** In ticks. Throws Error with what to do. */
  price(text, name = "price", { banded = name !== "stop_price" } = {}) {
    const ticks = read(this.tick, text, LABELS[name], this.instrument.tick_size);
    if (ticks < 1n || ticks > MAX_PRICE) throw new Error(`${LABELS[name]} goes from ${this.tick.format(1n)} up.`);
    const { lowest_price: lowest, highest_price: highest } = this.instrument;
    if (banded && lowest !== null && ticks < this.tick.parse(lowest)) {
      throw new Error(`${LABELS[name]} must be ${lowest} or more: the price band.`);
    }
    if (banded && highest !== null && ticks > this.tick.parse(highest)) {
      throw new Error(`${LABELS[name]} must be ${highest} or less: the price band.`);
    }
    return ticks;
  }

  /** In lots. Throws Error with what to do. */
  quantity(text, name = "quantity", most = this.mostLots) {
    const lots = read(this.lot, text, LABELS[name], this.instrument.lot_size);
    if (lots < this.leastLots || lots > most) {
      const range = `${this.lot.format(this.leastLots)} to ${this.lot.format(most)}`;
      throw new Error(`${LABELS[name]} goes from ${range}.`);
    }
    return lots;
  }

  /** In ticks times lots. Throws Error with what to do. */
  amount(text) {
    const steps = read(this.notional, text, LABELS.notional, this.notional.format(1n));
    if (steps < 1n || steps > MAX_NOTIONAL) throw new Error("Amount must be above zero, and less than that.");
    return steps;
  }
}

function read(step, text, label, size) {
  if (text.trim() === "") throw new Error(`${label} is needed.`);
  try {
    return step.parse(text);
  } catch (error) {
    if (error instanceof NotDecimal) throw new Error(`${label} must be a number such as ${step.format(12345n)}.`);
    if (!(error instanceof OffStep)) throw error;
    const near = step.nearest(text).map((each) => step.format(each));
    throw new Error(`${label} goes in steps of ${size}: ${near.join(" or ")}?`);
  }
}

/**
 * The body for POST /orders from the form's texts, and what is wrong with them: {body, errors}, errors by field's name.
 * `form`: side, type, time_in_force, account, self_trade_prevention, post_only and the texts; `now` in milliseconds.
 */
export function checkOrder(form, rules, now) {
  const errors = {};
  const body = { symbol: rules.instrument.symbol, side: form.side, type: form.type };
  const attempt = (name, work) => {
    try {
      return work();
    } catch (error) {
      errors[name] = error.message;
      return null;
    }
  };
  const { fields } = TYPES[form.type];
  const prices = ["price", "stop_price", "protection_price"].filter((name) => fields.includes(name));
  for (const name of prices) {
    const text = form[name] ?? "";
    if (name === "protection_price" && text.trim() === "") continue;
    const ticks = attempt(name, () => rules.price(text, name));
    if (ticks !== null) body[name] = rules.tick.format(ticks);
  }
  const lots = checkAmounts(form, rules, fields, body, errors, attempt);
  checkDisplay(form, rules, fields, body, errors, attempt, lots);
  checkTime(form, body, errors, now);
  checkPostOnly(form, rules, fields, body, errors);
  if ((form.account ?? "") !== "") {
    if (NAME.test(form.account)) body.account = form.account;
    else errors.account = "An account is 1 to 64 letters, digits, - or _.";
  }
  if (form.self_trade_prevention && form.self_trade_prevention !== "none") {
    body.self_trade_prevention = form.self_trade_prevention;
  }
  return { body, errors };
}

function checkAmounts(form, rules, fields, body, errors, attempt) {
  const byNotional = fields.includes("notional") && (form.notional ?? "").trim() !== "";
  if (byNotional && (form.quantity ?? "").trim() !== "") {
    errors.notional = "Give a quantity or an amount, not both.";
    return null;
  }
  if (byNotional) {
    const steps = attempt("notional", () => rules.amount(form.notional));
    if (steps !== null) body.notional = rules.notional.format(steps);
    if (form.time_in_force === "FOK") errors.time_in_force = "By amount an order cannot be fill-or-kill.";
    return null;
  }
  const lots = attempt("quantity", () => rules.quantity(form.quantity ?? ""));
  if (lots !== null) body.quantity = rules.lot.format(lots);
  return lots;
}

function checkDisplay(form, rules, fields, body, errors, attempt, lots) {
  const text = form.display_quantity ?? "";
  if (!fields.includes("display_quantity") || text.trim() === "") return;
  if (!RESTS.has(form.time_in_force)) {
    errors.display_quantity = "Only an order that may rest (GTC, GTD, DAY) can show a part.";
    return;
  }
  const shown = attempt("display_quantity", () => rules.quantity(text, "display_quantity", lots ?? undefined));
  if (shown !== null) body.display_quantity = rules.lot.format(shown);
}

function checkTime(form, body, errors, now) {
  const times = TYPES[form.type].times;
  if (!times.includes(form.time_in_force)) {
    errors.time_in_force = `${form.time_in_force} is not possible here: ${times.join(", ")} are.`;
    return;
  }
  body.time_in_force = form.time_in_force;
  if (form.time_in_force !== "GTD") return;
  const expires = Date.parse(form.expires_at ?? "");
  if (Number.isNaN(expires)) errors.expires_at = "Good-till-date needs a date and time.";
  else if (expires <= now) errors.expires_at = "That has passed already.";
  else body.expires_at = new Date(expires).toISOString();
}

function checkPostOnly(form, rules, fields, body, errors) {
  if (fields.includes("post_only") && form.post_only) {
    if (RESTS.has(form.time_in_force)) body.post_only = true;
    else errors.post_only = "A post-only order must be able to rest: GTC, GTD or DAY.";
  } else if (rules.instrument.status === "post_only" && form.type === "market") {
    errors.type = `In ${rules.instrument.symbol} nothing trades now: only orders that rest are taken.`;
  }
}

/**
 * The body for PUT /orders/{id}: what differs from the order, and what is wrong with it. Empty body: nothing differs.
 */
export function checkAmendment(order, texts, rules) {
  const errors = {};
  const body = {};
  for (const [name, text] of Object.entries(texts)) {
    try {
      const isQuantity = name === "quantity";
      const step = isQuantity ? rules.lot : rules.tick;
      const steps = isQuantity ? rules.quantity(text) : rules.price(text, name);
      if (steps !== step.parse(order[name])) body[name] = step.format(steps);
    } catch (error) {
      errors[name] = error.message;
    }
  }
  return { body, errors };
}
