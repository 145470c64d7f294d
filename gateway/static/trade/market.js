// The figures of the head: last price, best prices, and the last 24 hours.

import { grouped, shortened, trimmed } from "./decimals.js";
import { byId, setAttribute, setText } from "./dom.js";
import { drawing } from "./frames.js";

const DRAW_MS = 200;
const DAY_MS = 86_400_000;

export class Market {
  /** `read(path)` asks REST. */
  constructor(read) {
    this.draw = drawing(() => this.#draw(), DRAW_MS);
    this.#read = read;
  }

  #read;
  #symbol = null;
  #ticker = null;
  #hours = [];
  #trend = null;

  show(symbol) {
    this.#symbol = symbol;
    this.#ticker = null;
    this.#hours = [];
    this.#trend = null;
    this.draw();
  }

  update(ticker) {
    const before = this.#ticker?.last_price ?? null;
    if (before !== null && ticker.last_price !== before) {
      this.#trend = Number(ticker.last_price) > Number(before) ? "buy" : "sell";
    }
    this.#ticker = ticker;
    this.draw();
  }

  /** What the ticker does not have: where the day began, its highest and lowest. From candles of an hour. */
  async load() {
    const symbol = this.#symbol;
    const { items } = await this.#read(`/market/${encodeURIComponent(symbol)}/candles?interval=1h&limit=25`);
    if (symbol !== this.#symbol) return;
    this.#hours = items.filter((each) => Date.parse(each.close_time) > Date.now() - DAY_MS);
    this.draw();
  }

  #draw() {
    const ticker = this.#ticker;
    const last = ticker?.last_price ?? null;
    setText(byId("last-price"), last === null ? "–" : grouped(last));
    setAttribute(byId("last-price"), "data-side", this.#trend);
    setText(byId("best-bid"), ticker?.best_bid ? grouped(ticker.best_bid) : "–");
    setText(byId("best-ask"), ticker?.best_ask ? grouped(ticker.best_ask) : "–");
    setText(byId("volume-24h"), ticker === null ? "–" : grouped(trimmed(shortened(ticker.volume_24h, 3))));
    setText(byId("trades-24h"), ticker === null ? "–" : grouped(String(ticker.trades_24h)));
    this.#drawDay(last);
    document.title = last === null ? "Pricetime" : `${grouped(last)} ${this.#symbol} · Pricetime`;
  }

  #drawDay(last) {
    const hours = this.#hours;
    const isKnown = hours.length > 0 && last !== null;
    const change = isKnown ? (100 * (Number(last) - Number(hours[0].open))) / Number(hours[0].open) : null;
    setText(byId("change-24h"), change === null ? "" : `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)}%`);
    setAttribute(byId("change-24h"), "data-side", change === null || change === 0 ? null : change < 0 ? "sell" : "buy");
    const most = (pick, better) =>
      hours.reduce((found, each) => (better(Number(pick(each)), Number(found)) ? pick(each) : found), last);
    setText(byId("high-24h"), isKnown ? grouped(most((each) => each.high, (one, other) => one > other)) : "–");
    setText(byId("low-24h"), isKnown ? grouped(most((each) => each.low, (one, other) => one < other)) : "–");
  }
}
