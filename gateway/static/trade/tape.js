// The tape: the latest trades of the symbol, newest first.

import { byId, clockTime, element } from "./dom.js";
import { drawing } from "./frames.js";
import { fitted } from "./decimals.js";

const KEPT = 60;
const DECIMALS = 4;
const CHARACTERS = 10;

export class Tape {
  constructor() {
    this.draw = drawing(() => this.#draw());
  }

  #body = byId("tape");
  #empty = byId("tape-empty");
  #rows = [];
  #trades = []; // newest first
  #drawn = 0; // the newest trade id that is on the screen
  #isNew = true;

  get newest() {
    return this.#trades[0] ?? null;
  }

  clear() {
    this.#trades = [];
    this.#isNew = true;
    this.draw();
  }

  /** Trades in whatever order they become known; those that are here already are left out. */
  add(trades) {
    for (const trade of trades) {
      const newest = this.#trades[0];
      if (newest === undefined || trade.trade_id > newest.trade_id) {
        this.#trades.unshift(trade);
      } else if (!this.#trades.some((each) => each.trade_id === trade.trade_id)) {
        const at = this.#trades.findIndex((each) => each.trade_id < trade.trade_id);
        this.#trades.splice(at < 0 ? this.#trades.length : at, 0, trade);
        this.#isNew = true; // not at the end: everything is drawn again
      }
    }
    this.#trades.length = Math.min(this.#trades.length, KEPT);
    this.draw();
  }

  #draw() {
    const fresh = this.#isNew ? this.#trades.length : this.#trades.findIndex((each) => each.trade_id <= this.#drawn);
    if (this.#isNew) this.#rows.splice(0).forEach((row) => row.remove());
    const count = fresh < 0 ? this.#trades.length : fresh;
    for (let at = count - 1; at >= 0; at--) this.#prepend(this.#trades[at]);
    this.#isNew = false;
    this.#empty.hidden = this.#trades.length > 0;
    this.#drawn = this.newest?.trade_id ?? 0;
  }

  /** The oldest row is used again: nothing is made or thrown away while trades come in. */
  #prepend(trade) {
    const row = this.#rows.length >= KEPT ? this.#rows.pop() : emptyRow();
    const [price, quantity, time] = row.children;
    row.dataset.tradeId = trade.trade_id;
    row.dataset.side = trade.taker_side;
    price.textContent = trade.price;
    quantity.textContent = fitted(trade.quantity, DECIMALS, CHARACTERS);
    quantity.title = trade.quantity;
    time.textContent = clockTime(trade.executed_at);
    this.#rows.unshift(row);
    this.#body.prepend(row);
  }
}

function emptyRow() {
  return element(
    "tr",
    {},
    element("td", { class: "price" }),
    element("td", { class: "size" }),
    element("td", { class: "time" }),
  );
}
