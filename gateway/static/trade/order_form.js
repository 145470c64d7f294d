// The order form: fields for each type, checked while typing and before sending, sent with a name so that it can be
// repeated, and the answer told in words.

import { grouped, trimmed } from "./decimals.js";
import { byId, element, setAttribute, setText } from "./dom.js";
import { drawing } from "./frames.js";
import { TYPES, checkOrder, closedBecause } from "./order_rules.js";
import { newClientOrderId } from "./rest.js";

const OPTIONAL = ["price", "quantity", "notional", "stop_price", "display_quantity", "protection_price", "post_only"];
const TOAST_MS = 5000;
const ESTIMATE_MS = 300;
const TEXTS = OPTIONAL.filter((name) => name !== "post_only");
const TIMES = {
  GTC: "Good till canceled",
  IOC: "Immediate or cancel",
  FOK: "Fill or kill",
  GTD: "Good till date",
  DAY: "Day (UTC)",
};

/** What is traded and what it is paid with, where the symbol says so. */
const UNITS = /^(?<base>[A-Za-z0-9]{1,8})[-_](?<quote>[A-Za-z0-9]{1,8})$/;

export class OrderForm {
  /**
   * `send(method, path, body, onWait)` is a command; `account()` whose order it is; `onPlaced(order, milliseconds)` gets
   * the answer, `onRefused(refusal)` a refusal.
   */
  constructor({ send, account, onPlaced, onRefused }) {
    this.#send = send;
    this.#account = account;
    this.#onPlaced = onPlaced;
    this.#onRefused = onRefused;
    this.#controls.type.addEventListener("change", () => this.#retype());
    this.#form.addEventListener("input", (event) => this.#changed(event.target));
    this.#form.addEventListener("change", (event) => this.#changed(event.target));
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#form.addEventListener("keydown", (event) => this.#step(event));
    for (const name of ["quantity", "notional"]) {
      this.#controls[name].addEventListener("input", () => {
        if (this.#controls.type.value === "market") this.#controls[name === "quantity" ? "notional" : "quantity"].value = "";
      });
    }
    this.#retype();
  }

  #send;
  #account;
  #onPlaced;
  #onRefused;
  #form = byId("order-form");
  #controls = byId("order-form").elements;
  #submitButton = byId("order-submit");
  #message = byId("order-message");
  #estimate = byId("order-estimate");
  #rules = null;
  #units = { base: "", quote: "" };
  #book = null;
  #touched = new Set();
  #isSending = false;
  #toastTimer = null;

  /** Another symbol, or other rules of the same one. */
  show(rules) {
    const isOther = this.#rules?.instrument.symbol !== rules.instrument.symbol;
    this.#rules = rules;
    if (isOther) {
      for (const name of TEXTS) this.#controls[name].value = "";
      this.#touched.clear();
      this.say("");
    }
    this.#units = UNITS.exec(rules.instrument.symbol)?.groups ?? { base: "", quote: "" };
    for (const unit of this.#form.querySelectorAll("[data-unit]")) setText(unit, this.#units[unit.dataset.unit]);
    this.refresh();
  }

  set book(book) {
    this.#book = book;
  }

  /** The book has changed, and with it what a market order comes to. */
  bookChanged = drawing(() => this.#rules && setText(this.#estimate, this.#estimated()), ESTIMATE_MS);

  side(side) {
    this.#controls.side.value = side;
    this.refresh();
  }

  type(type) {
    this.#controls.type.value = type;
    this.#retype();
  }

  focus(name) {
    const control = this.#controls[name];
    if (control.closest("[hidden]") !== null) return;
    control.focus();
    control.select();
  }

  /** A level of the book was chosen: its price, and perhaps all that is to be had up to there by taking it. */
  pick({ side, price, lots }) {
    const kind = this.#controls.type.value;
    if (kind === "market" && lots === null) return;
    const priced = { limit: "price", stop: "stop_price", stop_limit: "price" }[kind];
    if (priced !== undefined) this.#controls[priced].value = price;
    if (lots !== null) {
      const most = lots < this.#rules.mostLots ? lots : this.#rules.mostLots;
      this.#controls.quantity.value = trimmed(this.#rules.lot.format(most));
      this.#controls.notional.value = "";
      this.#controls.side.value = side === "ask" ? "buy" : "sell"; // who wants so many takes them
    }
    this.refresh();
  }

  /** `kind`: "good", "bad" or "". */
  say(text, kind = "", details = null) {
    this.#message.dataset.kind = kind;
    this.#message.setAttribute("role", kind === "bad" ? "alert" : "status");
    const more = details === null ? [] : [" ", element("span", { class: "detail" }, details)];
    this.#message.replaceChildren(text, ...more);
    if (kind !== "" && kind !== "hint") this.#toast(text, kind);
  }

  /** On a phone the form is out of sight when an order is canceled further down: then it is told over the page. */
  #toast(text, kind) {
    const { top, bottom } = this.#message.getBoundingClientRect();
    const isInSight = bottom <= innerHeight && top >= 0;
    const toast = byId("toast");
    clearTimeout(this.#toastTimer);
    setText(toast, isInSight ? "" : text);
    toast.dataset.kind = kind;
    this.#toastTimer = setTimeout(() => setText(toast, ""), TOAST_MS);
  }

  /** What depends on what is filled in, on the instrument or on the book. */
  refresh() {
    if (this.#rules === null) return;
    const { side } = this.#values();
    this.#form.dataset.side = side;
    const closed = closedBecause(this.#rules.instrument);
    this.#submitButton.disabled = closed !== null || this.#isSending;
    setText(this.#submitButton, `${side === "buy" ? "Buy" : "Sell"} ${this.#rules.instrument.symbol}`);
    setText(byId("instrument-note"), closed ?? this.#note());
    setText(this.#estimate, this.#estimated());
  }

  #note() {
    return this.#rules.instrument.status === "post_only" ? "Post-only: orders rest, nothing trades." : "";
  }

  #values() {
    const form = new FormData(this.#form);
    const values = Object.fromEntries(form.entries());
    return { ...values, post_only: form.has("post_only"), account: this.#account() };
  }

  #retype() {
    const kind = TYPES[this.#controls.type.value];
    for (const name of OPTIONAL) this.#allow(name, kind.fields.includes(name));
    const time = this.#controls.time_in_force;
    const before = time.value;
    time.replaceChildren(...kind.times.map((each) => element("option", { value: each, title: TIMES[each] }, each)));
    time.value = kind.times.includes(before) ? before : kind.times[0];
    this.#touched.clear();
    this.#showErrors({});
    this.#changed(time);
  }

  /** A field that does not belong to the type is neither seen nor sent. */
  #allow(name, isAllowed) {
    this.#controls[name].disabled = !isAllowed;
    this.#controls[name].closest(".field").hidden = !isAllowed;
  }

  #changed(control) {
    const time = this.#controls.time_in_force;
    time.title = TIMES[time.value];
    this.#allow("expires_at", time.value === "GTD");
    if (control.name === "expires_at" || control.value !== "") this.#touched.add(control.name);
    if (this.#rules === null) return;
    const { errors } = checkOrder(this.#values(), this.#rules, Date.now());
    const shown = Object.entries(errors).filter(([name]) => this.#touched.has(name) && this.#controls[name]?.value !== "");
    this.#showErrors(Object.fromEntries(shown));
    this.refresh();
  }

  /** The fields are marked and the first fault is told below, where there is room for it: nothing moves. */
  #showErrors(errors) {
    for (const control of this.#controls) {
      if (!control.name || control.type === "radio") continue;
      setAttribute(control, "aria-invalid", control.name in errors ? "true" : null);
    }
    const [first] = Object.values(errors);
    if (first !== undefined) this.say(first, "hint");
    else if (this.#message.dataset.kind === "hint") this.say("");
  }

  /** Up and down in a price or quantity go by one step, with Shift by ten; as texts, so nothing is rounded. */
  #step(event) {
    const by = { ArrowUp: 1n, ArrowDown: -1n }[event.key];
    const step = { price: "tick", stop_price: "tick", protection_price: "tick" }[event.target.name];
    if (by === undefined || step === undefined || this.#rules === null) return;
    event.preventDefault();
    try {
      const steps = this.#rules[step].parse(event.target.value) + by * (event.shiftKey ? 10n : 1n);
      if (steps < 1n) return;
      event.target.value = this.#rules[step].format(steps);
      this.#changed(event.target);
    } catch {
      // what is there is no number of steps: the field says so already
    }
  }

  /** What the order would come to, exactly; by the book as it is for one that takes what is there. */
  #estimated() {
    const values = this.#values();
    const { body } = checkOrder(values, this.#rules, Date.now());
    if (body.quantity === undefined) return "–";
    const { tick, lot, notional } = this.#rules;
    const { quote } = this.#units;
    const lots = lot.parse(body.quantity);
    const price = body.price ?? (body.type === "stop" ? body.stop_price : undefined);
    if (price !== undefined) return `${grouped(trimmed(notional.format(tick.parse(price) * lots)))} ${quote}`;
    if (body.type !== "market" || this.#book === null) return "–";
    const cost = this.#book.costOf(values.side, lots);
    return cost === null ? "more than the book shows" : `≈ ${grouped(trimmed(notional.format(cost)))} ${quote}`;
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#isSending || this.#rules === null || this.#submitButton.disabled) return;
    const { body, errors } = checkOrder(this.#values(), this.#rules, Date.now());
    const wrong = Object.keys(errors);
    this.#showErrors(errors);
    if (wrong.length > 0) {
      this.say(errors[wrong[0]], "bad");
      this.#controls[wrong[0]]?.focus?.();
      return;
    }
    await this.#place({ ...body, client_order_id: newClientOrderId() });
  }

  async #place(body) {
    this.#sending(true);
    this.say("Sending …");
    try {
      const wait = (refusal) => this.say("No answer yet; asking again …", "", refusal.message);
      const { content: order, milliseconds } = await this.#send("POST", "/orders", body, wait);
      this.#told(order);
      this.#onPlaced(order, milliseconds);
    } catch (refusal) {
      this.say(refusal.message, "bad", refusal.code);
      this.#onRefused(refusal);
    } finally {
      this.#sending(false);
    }
  }

  #sending(isSending) {
    this.#isSending = isSending;
    this.#form.setAttribute("aria-busy", String(isSending));
    this.refresh();
  }

  #told(order) {
    const filled = trimmed(order.filled_quantity);
    const at = order.average_price === null ? "" : ` at ${order.average_price}`;
    const words = {
      open: order.stop_price !== null && !order.triggered ? "waits for its stop price" : "is open",
      partially_filled: `filled ${filled}${at}, the rest is open`,
      filled: `filled ${filled}${at}`,
      canceled: `canceled: ${(order.reason ?? "").replaceAll("_", " ")}${order.average_price === null ? "" : `; filled ${filled}${at}`}`,
      expired: "expired",
    }[order.status];
    this.say(`Order ${order.order_id} ${words}.`, order.status === "canceled" ? "warn" : "good");
  }
}
