// The depth ladder: asks above, bids below, the best of both in the middle. Rows stand still and their figures change:
// a row is written to only where something differs.

import { groupings } from "./book.js";
import { byId, element, setAttribute, setText } from "./dom.js";
import { drawing } from "./frames.js";
import { fitted } from "./decimals.js";

const ROWS = 100; // of each side
const HIDDEN_EVERY = 10; // drawings: the rows that nobody sees are brought up to date once a second
const OVERSCAN = 2;
const DECIMALS = 4; // of quantities; all of them are in the title
const ROW_CHARACTERS = 29; // of a price and two quantities

export class Ladder {
  /** `onPick({side, price, lots})`: a level was chosen; `lots` all that is to be had up to there, if that was chosen. */
  constructor(onPick) {
    this.draw = drawing(() => this.#draw());
    this.#onPick = onPick;
    this.#sides = { ask: new LadderSide("ask"), bid: new LadderSide("bid") };
    for (const side of Object.values(this.#sides)) {
      side.pane.addEventListener("click", (event) => this.#clicked(side, event));
      side.pane.addEventListener("keydown", (event) => this.#pressed(side, event));
      side.pane.addEventListener("pointerover", (event) => this.#explain(side, event));
    }
    this.#grouping.addEventListener("change", () => {
      this.#step = Number(this.#grouping.value);
      this.draw();
    });
  }

  #onPick;
  #sides;
  #grouping = byId("grouping");
  #best = byId("spread-last");
  #spread = byId("spread-width");
  #percent = byId("spread-percent");
  #book = null;
  #step = 1;
  #scale = null;
  #priceCharacters = 0;
  #ownPrices = { ask: new Set(), bid: new Set() };
  #lastPrice = { text: "–", side: null };

  /** Another book. Its groupings are offered when its prices are known. */
  show(book) {
    this.#book = book;
    this.#step = 1;
    this.#scale = null;
    this.#grouping.replaceChildren(element("option", { value: "1" }, book.tick.format(1)));
    this.lastTrade(null);
    this.draw();
  }

  /** `trade` is the newest. */
  lastTrade(trade) {
    this.#lastPrice = trade === null ? { text: "–", side: null } : { text: trade.price, side: trade.taker_side };
    this.draw();
  }

  /** Own resting orders of this symbol are marked. */
  ownOrders(orders) {
    this.#ownPrices = { ask: new Set(), bid: new Set() };
    for (const order of orders) {
      if (order.price === null || (order.stop_price !== null && !order.triggered)) continue;
      const ticks = Number(this.#book.tick.parse(order.price));
      this.#ownPrices[order.side === "buy" ? "bid" : "ask"].add(ticks);
    }
    this.draw();
  }

  /** One grouping finer (-1) or coarser (1). */
  regroup(by) {
    const at = this.#grouping.selectedIndex + by;
    if (at < 0 || at >= this.#grouping.length) return;
    this.#grouping.selectedIndex = at;
    this.#grouping.dispatchEvent(new Event("change"));
  }

  #draw() {
    const book = this.#book;
    if (book === null) return;
    this.#offerGroupings();
    this.#fitPrices();
    const rows = { ask: book.rows("ask", this.#step, ROWS), bid: book.rows("bid", this.#step, ROWS) };
    const most = Math.max(...Object.values(rows).map((each) => visibleTotal(each)), 1);
    for (const [name, side] of Object.entries(this.#sides)) {
      side.draw(rows[name], book, this.#step, most, this.#ownPrices[name], this.#quantityCharacters);
    }
    this.#drawSpread();
  }

  /** Prices are never cut: their column, here and in the trades, is as wide as they are, and quantities get the rest. */
  #fitPrices() {
    const { tick, bids, asks } = this.#book;
    const prices = [asks.prices[0], bids.prices[0], 1].filter((each) => each !== undefined).map((each) => tick.format(each));
    const characters = Math.max(...prices.map((each) => each.length), this.#lastPrice.text.length);
    if (characters === this.#priceCharacters) return;
    this.#priceCharacters = characters;
    document.documentElement.style.setProperty("--price-characters", characters);
  }

  get #quantityCharacters() {
    return Math.max(5, Math.min(10, Math.floor((ROW_CHARACTERS - this.#priceCharacters) / 2)));
  }

  /** When the order of magnitude of prices is known, or changes. */
  #offerGroupings() {
    const best = this.#book.bids.prices[0] ?? this.#book.asks.prices[0];
    if (best === undefined) return;
    const scale = Math.floor(Math.log10(best));
    if (scale === this.#scale) return;
    this.#scale = scale;
    const offered = groupings(best);
    if (!offered.includes(this.#step)) this.#step = 1;
    this.#grouping.replaceChildren(
      ...offered.map((step) => element("option", { value: step }, this.#book.tick.format(step))),
    );
    this.#grouping.value = String(this.#step);
  }

  #drawSpread() {
    const { bids, asks, tick } = this.#book;
    setText(this.#best, this.#lastPrice.text);
    setAttribute(this.#best, "data-side", this.#lastPrice.side);
    const both = bids.length > 0 && asks.length > 0;
    const width = both ? asks.prices[0] - bids.prices[0] : null;
    setText(this.#spread, width === null ? "–" : tick.format(width));
    setText(this.#percent, width === null ? "" : ` ${percent(width, asks.prices[0])}`);
  }

  /** All digits of the level that is pointed at. */
  #explain(side, event) {
    const row = event.target.closest("[data-price]");
    const level = side.levels[side.rows.indexOf(row)];
    if (level === undefined) return;
    const { lot } = this.#book;
    row.title = `${lot.format(level.lots)} at ${row.dataset.price}; ${lot.format(level.total)} up to there`;
  }

  #clicked(side, event) {
    const row = event.target.closest("[data-price]");
    if (row === null) return;
    side.select(side.rows.indexOf(row));
    this.#pick(side, row, event.target.closest(".size, .total") !== null);
  }

  #pressed(side, event) {
    const away = side.name === "ask" ? -1 : 1; // up, on the screen, is away from the best ask
    const steps = { ArrowDown: away, ArrowUp: -away }[event.key];
    if (steps !== undefined) {
      side.select(side.selected + steps);
      event.preventDefault();
    } else if (event.key === "Enter" && side.rows[side.selected]?.dataset.price !== undefined) {
      this.#pick(side, side.rows[side.selected], event.shiftKey);
      event.preventDefault();
    }
  }

  #pick(side, row, withQuantity) {
    const level = side.levels[side.rows.indexOf(row)];
    this.#onPick({ side: side.name, price: row.dataset.price, lots: withQuantity ? level.total : null });
  }
}

function percent(width, price) {
  const share = (100 * width) / price;
  return share > 0 && share < 0.001 ? "<0.001%" : `${share.toFixed(3)}%`;
}

/** The bars compare what can be seen at a glance, not a wall far away. */
function visibleTotal(rows) {
  const last = rows[Math.min(rows.length, 30) - 1];
  return last === undefined ? 0 : Number(last.total);
}

class LadderSide {
  constructor(name) {
    this.name = name;
    this.pane = byId(`${name}s`);
    this.rows = [];
    this.levels = [];
    this.selected = -1;
    this.pane.addEventListener("scroll", () => this.#look(), { passive: true });
    new ResizeObserver(() => this.#look()).observe(this.pane);
  }

  #shown = [];
  #first = 0; // the rows in sight
  #last = ROWS;
  #drawings = 0;
  #characters = 0;

  draw(levels, book, step, most, own, characters) {
    this.levels = levels;
    this.#characters = characters;
    this.pane.classList.toggle("empty", levels.length === 0 && book.lastSequence !== null);
    const all = this.#drawings++ % HIDDEN_EVERY === 0;
    const first = all ? 0 : this.#first;
    const last = all ? ROWS : this.#last;
    for (let at = first; at < Math.min(last, levels.length); at++) this.#drawRow(at, levels[at], book, step, most, own);
    for (let at = Math.max(first, levels.length); at < Math.min(last, this.rows.length); at++) this.#clearRow(at);
  }

  /** Which rows can be seen. Asked when it changes, not at each drawing, as the page is laid out for it. */
  #look() {
    const height = this.rows[0]?.offsetHeight || 18;
    const scrolled = Math.abs(this.pane.scrollTop); // the asks' pane is scrolled up, from zero down
    this.#first = Math.max(0, Math.floor(scrolled / height) - OVERSCAN);
    this.#last = Math.ceil((scrolled + this.pane.clientHeight) / height) + OVERSCAN;
    this.#drawings = 0;
  }

  #drawRow(at, { ticks, lots, total }, book, step, most, own) {
    while (this.#shown.length <= at) this.#addRow(this.#shown.length);
    const shown = this.#shown[at];
    const row = this.rows[at];
    if (shown.ticks !== ticks) {
      shown.ticks = ticks;
      row.dataset.price = shown.price.data = book.tick.format(ticks);
    }
    if (shown.lots !== lots) {
      shown.lots = lots;
      shown.size.data = fitted(book.lot.format(lots), DECIMALS, this.#characters);
    }
    if (shown.sum !== total) {
      shown.sum = total;
      shown.total.data = fitted(book.lot.format(total), DECIMALS, this.#characters);
    }
    const percent = Math.min(100, Math.round((100 * Number(total)) / most));
    if (shown.percent !== percent) {
      shown.percent = percent;
      row.style.setProperty("--depth", `${percent}%`);
    }
    const isOwn = own.size > 0 && hasOwn(own, ticks, step, this.name === "bid");
    if (shown.isOwn !== isOwn) {
      shown.isOwn = isOwn;
      row.classList.toggle("mine", isOwn);
    }
  }

  #addRow(at) {
    const [price, size, total] = [new Text(), new Text(), new Text()];
    const row = element(
      "div",
      { class: "level", role: "row", "data-side": this.name },
      element("span", { class: "price", role: "cell" }, price),
      element("span", { class: "size", role: "cell" }, size),
      element("span", { class: "total", role: "cell" }, total),
    );
    this.rows[at] = row;
    this.pane.append(row);
    this.#shown[at] = { price, size, total, ticks: null };
  }

  #clearRow(at) {
    const shown = this.#shown[at];
    if (shown.ticks === null) return;
    const { price, size, total } = shown;
    price.data = size.data = total.data = "";
    this.#shown[at] = { price, size, total, ticks: null };
    delete this.rows[at].dataset.price;
    this.rows[at].style.removeProperty("--depth");
    this.rows[at].classList.remove("mine");
  }

  select(at) {
    this.rows[this.selected]?.removeAttribute("data-selected");
    this.selected = Math.max(0, Math.min(at, this.levels.length - 1));
    const row = this.rows[this.selected];
    row?.setAttribute("data-selected", "");
    row?.scrollIntoView({ block: "nearest" });
  }
}

/** Whether one of the prices is in the group that begins at `ticks`. */
function hasOwn(own, ticks, step, isBid) {
  if (step === 1) return own.has(ticks);
  for (const price of own) {
    if (isBid ? price >= ticks && price < ticks + step : price <= ticks && price > ticks - step) return true;
  }
  return false;
}
