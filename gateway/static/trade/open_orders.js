// Own open orders, each with Amend and Cancel. Amending happens in the row; a row that is being amended is left alone by
// what comes in, but for what was filled.

import { trimmed } from "./decimals.js";
import { byId, clockTime, element, setAttribute, setText } from "./dom.js";
import { drawing } from "./frames.js";
import { checkAmendment } from "./order_rules.js";

const SHOWN = 200;

export class OpenOrders {
  /**
   * `send(method, path, body)` is a command; `rulesOf(symbol)` its instrument's rules; `onAnswer(order, milliseconds)`;
   * `say(text, kind)` tells a person; `pick(symbol)` shows another symbol.
   */
  constructor({ send, rulesOf, onAnswer, say, pick }) {
    this.draw = drawing(() => this.#draw());
    this.#send = send;
    this.#rulesOf = rulesOf;
    this.#onAnswer = onAnswer;
    this.#say = say;
    this.#pick = pick;
    byId("cancel-all").addEventListener("click", () => this.cancelAll());
  }

  #send;
  #rulesOf;
  #onAnswer;
  #say;
  #pick;
  #body = byId("open-orders");
  #count = byId("open-orders-count");
  #empty = byId("open-orders-empty");
  #rows = new Map();
  #orders = [];
  #whenNone = "";
  #symbol = null;
  #account = () => "";

  set account(account) {
    this.#account = account;
  }

  set symbol(symbol) {
    this.#symbol = symbol;
  }

  /** Newest first. `whenNone` is what to say where there are none. */
  show(orders, whenNone) {
    this.#orders = orders;
    this.#whenNone = whenNone;
    this.draw();
  }

  /** All of this account in this symbol. */
  async cancelAll() {
    const account = this.#account();
    const query = new URLSearchParams({ symbol: this.#symbol, ...(account === "" ? {} : { account }) });
    await this.#do("DELETE", `/orders?${query}`, undefined, ({ canceled }) =>
      canceled === 1 ? "1 order canceled." : `${canceled} orders canceled.`,
    );
  }

  #draw() {
    const shown = this.#orders.slice(0, SHOWN);
    setText(this.#count, this.#orders.length === 0 ? "" : String(this.#orders.length));
    this.#tellHowMany();
    byId("cancel-all").disabled = !this.#orders.some((order) => order.symbol === this.#symbol);
    const ids = new Set(shown.map((order) => order.order_id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      this.#rows.delete(id);
      row.node.remove();
    }
    let before = null;
    for (const order of shown) {
      const row = this.#rows.get(order.order_id) ?? this.#add(order);
      row.update(order);
      const place = before === null ? this.#body.firstElementChild : before.nextElementSibling;
      if (place !== row.node) this.#body.insertBefore(row.node, place);
      before = row.node;
    }
  }

  #tellHowMany() {
    const count = this.#orders.length;
    this.#empty.hidden = count > 0 && count <= SHOWN;
    setText(this.#empty, count > SHOWN ? `The newest ${SHOWN} of ${count} are shown` : this.#whenNone);
  }

  #add(order) {
    const row = new OrderRow(order, {
      amend: (texts) => this.#amend(row, texts),
      cancel: () => this.#cancel(row),
      pick: () => this.#pick(row.order.symbol),
    });
    this.#rows.set(order.order_id, row);
    return row;
  }

  async #amend(row, texts) {
    const rules = this.#rulesOf(row.order.symbol);
    if (rules === undefined) {
      this.#say(`The rules of ${row.order.symbol} are not known yet; try again.`, "bad");
      return;
    }
    const { body, errors } = checkAmendment(row.order, texts, rules);
    const [wrong] = Object.keys(errors);
    if (wrong !== undefined) {
      row.invalid(wrong);
      this.#say(errors[wrong], "bad");
      return;
    }
    if (Object.keys(body).length === 0) {
      row.endAmending();
      return;
    }
    const done = await this.#do("PUT", `/orders/${row.order.order_id}`, body, (order) => {
      const place = order.priority_kept === false ? " It went to the back of its price." : "";
      return `Order ${order.order_id} amended.${place}`;
    });
    if (done) row.endAmending();
  }

  async #cancel(row) {
    row.busy(true);
    await this.#do("DELETE", `/orders/${row.order.order_id}`, undefined, (order) => `Order ${order.order_id} canceled.`);
    row.busy(false);
  }

  /** Whether it was done. */
  async #do(method, path, body, words) {
    try {
      const { content, milliseconds } = await this.#send(method, path, body, (refusal) =>
        this.#say("No answer yet; asking again …", "", refusal.message),
      );
      this.#say(words(content), "good");
      this.#onAnswer(content.order_id === undefined ? null : content, milliseconds);
      return true;
    } catch (refusal) {
      this.#say(refusal.message, "bad", refusal.code);
      return false;
    }
  }
}

class OrderRow {
  constructor(order, { amend, cancel, pick }) {
    this.order = order;
    this.#amend = amend;
    const cell = (name, ...content) => element("td", { class: name }, ...content);
    this.#cells = {
      time: cell("time"),
      symbol: cell("symbol", element("button", { type: "button", class: "link", onclick: pick })),
      side: cell("side"),
      type: cell("type"),
      price: cell("price"),
      quantity: cell("quantity"),
    };
    this.#edit = element("button", { type: "button", onclick: () => this.#beginAmending() }, "Amend");
    this.#cancel = element("button", { type: "button", onclick: cancel }, "Cancel");
    this.#save = element("button", { type: "button", class: "strong", onclick: () => this.#submit() }, "Save");
    this.#back = element("button", { type: "button", onclick: () => this.endAmending() }, "Back");
    this.#actions = cell("actions", this.#edit, this.#cancel);
    this.node = element("tr", { "data-order-id": order.order_id }, ...Object.values(this.#cells), this.#actions);
    this.node.addEventListener("keydown", (event) => this.#pressed(event));
    for (const button of [this.#edit, this.#cancel]) {
      button.setAttribute("aria-label", `${button.textContent} order ${order.order_id}`);
    }
  }

  #amend;
  #cells;
  #edit;
  #cancel;
  #save;
  #back;
  #actions;
  #inputs = null;

  update(order) {
    this.order = order;
    const { time, symbol, side, type, price, quantity } = this.#cells;
    setText(time, clockTime(order.created_at));
    setText(symbol.firstElementChild, order.symbol);
    setText(side, order.side === "buy" ? "Buy" : "Sell");
    this.node.dataset.side = order.side;
    setText(type, kindOf(order));
    type.title = describe(order);
    if (this.#inputs !== null) return;
    const filled = order.status === "partially_filled" ? `${trimmed(order.filled_quantity)} filled` : "";
    setLines(price, order.price ?? "market", waits(order) ? `if ${order.side === "buy" ? "≥" : "≤"} ${order.stop_price}` : "");
    setLines(quantity, trimmed(order.quantity), filled);
  }

  #beginAmending() {
    const inputs = {};
    const input = (name, label, text) => {
      inputs[name] = element("input", {
        name,
        "aria-label": `${label} of order ${this.order.order_id}`,
        value: text,
        inputmode: "decimal",
        autocomplete: "off",
      });
      return inputs[name];
    };
    const { order } = this;
    const prices = [];
    if (waits(order)) prices.push(input("stop_price", "Stop price", order.stop_price));
    if (order.price !== null) prices.push(input("price", "Price", order.price));
    for (const each of ["price", "quantity"]) this.#cells[each].removeAttribute("title");
    this.#cells.price.replaceChildren(...prices);
    this.#cells.quantity.replaceChildren(input("quantity", "Quantity", trimmed(order.quantity)));
    this.#actions.replaceChildren(this.#save, this.#back);
    this.node.classList.add("amending");
    this.#inputs = inputs;
    (inputs.price ?? inputs.quantity).select();
  }

  endAmending() {
    if (this.#inputs === null) return;
    const hadFocus = this.node.contains(document.activeElement);
    this.#inputs = null;
    this.node.classList.remove("amending");
    this.#cells.price.replaceChildren();
    this.#cells.quantity.replaceChildren();
    this.#actions.replaceChildren(this.#edit, this.#cancel);
    this.update(this.order);
    if (hadFocus) this.#edit.focus();
  }

  invalid(name) {
    this.#inputs?.[name]?.setAttribute("aria-invalid", "true");
    this.#inputs?.[name]?.focus();
  }

  busy(isBusy) {
    this.#cancel.disabled = isBusy;
  }

  #pressed(event) {
    if (this.#inputs === null || event.target.tagName !== "INPUT") return;
    if (event.key === "Enter") this.#submit();
    else if (event.key === "Escape") this.endAmending();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #submit() {
    const texts = Object.entries(this.#inputs).map(([name, input]) => {
      input.removeAttribute("aria-invalid");
      return [name, input.value];
    });
    this.#amend(Object.fromEntries(texts));
  }
}

const waits = (order) => order.stop_price !== null && !order.triggered;

/** A second, smaller line below the first, where there is something to say. All of it is in the title: columns are narrow. */
function setLines(cell, text, below) {
  if (cell.firstElementChild?.tagName !== "SPAN") cell.replaceChildren(element("span"), element("small"));
  setText(cell.firstElementChild, text);
  setText(cell.lastElementChild, below);
  setAttribute(cell, "title", `${text} ${below}`.trim());
}

function kindOf(order) {
  const name = waits(order) ? (order.type === "stop" ? "Stop" : "Stop limit") : "Limit";
  const more = [
    order.time_in_force === "GTC" ? null : order.time_in_force,
    order.post_only ? "post-only" : null,
    order.display_quantity === null ? null : "iceberg",
  ].filter((each) => each !== null);
  return more.length === 0 || waits(order) ? [name, ...more].join(" ") : more.join(" ");
}

/** All of it, for who looks twice. */
function describe(order) {
  const parts = [order.type.replace("_", " "), order.time_in_force, `placed ${clockTime(order.created_at)}`];
  if (order.post_only) parts.push("post-only");
  if (order.display_quantity !== null) parts.push(`shows ${trimmed(order.display_quantity)}`);
  if (order.protection_price !== null) parts.push(`protected at ${order.protection_price}`);
  if (order.expires_at !== null) parts.push(`until ${new Date(order.expires_at).toLocaleString("en-GB")}`);
  return parts.join(", ");
}
