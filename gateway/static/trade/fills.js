// Own fills, newest first.

import { trimmed } from "./decimals.js";
import { byId, clockTime, element, setText } from "./dom.js";
import { drawing } from "./frames.js";

const SHOWN = 100;

export class Fills {
  constructor() {
    this.draw = drawing(() => this.#draw());
  }

  #body = byId("fills");
  #empty = byId("fills-empty");
  #rows = new Map();
  #fills = [];

  /** `whenNone` is what to say where there are none. */
  show(fills, whenNone) {
    this.#fills = fills;
    setText(this.#empty, whenNone);
    this.draw();
  }

  #draw() {
    const shown = this.#fills.slice(0, SHOWN);
    this.#empty.hidden = shown.length > 0;
    const keys = new Set(shown.map((fill) => fill.key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      this.#rows.delete(key);
      row.remove();
    }
    let before = null;
    for (const fill of shown) {
      const row = this.#rows.get(fill.key) ?? this.#add(fill);
      const place = before === null ? this.#body.firstElementChild : before.nextElementSibling;
      if (place !== row) this.#body.insertBefore(row, place);
      before = row;
    }
  }

  #add({ key, order, trade }) {
    const role = order.order_id === trade.taker_order_id ? "taker" : "maker";
    const row = element(
      "tr",
      { "data-trade-id": trade.trade_id, "data-order-id": order.order_id, "data-side": order.side },
      element("td", { class: "time" }, clockTime(trade.executed_at)),
      element("td", { class: "symbol" }, trade.symbol),
      element("td", { class: "side" }, order.side === "buy" ? "Buy" : "Sell"),
      element("td", { class: "price", title: trade.price }, trade.price),
      element("td", { class: "quantity", title: trade.quantity }, trimmed(trade.quantity)),
      element("td", { class: "role" }, role),
    );
    this.#rows.set(key, row);
    return row;
  }
}
