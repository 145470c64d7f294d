// The depth chart: what is to be had up to each price, bids to the left, asks to the right, the middle in the middle.

import { byId, setText } from "./dom.js";
import { drawing } from "./frames.js";
import { fitted, grouped } from "./decimals.js";

const DRAW_MS = 300;
const LEVELS = 200; // of a side are in sight at first
const FAR = 6; // times as far as a quarter of the levels reach: what lies beyond leaves the rest too little room
const AXIS = 18; // pixels below for the prices
const LABELS = 4; // from end to end, if there is room
const CHARACTERS = 10; // of quantities

export class DepthChart {
  constructor() {
    this.draw = drawing(() => this.#draw(), DRAW_MS);
    new ResizeObserver(([entry]) => {
      this.#size = entry.contentRect; // asked for at each drawing it would have the page laid out each time
      this.draw();
    }).observe(this.#canvas);
    document.addEventListener("themechange", () => {
      this.#readColors();
      this.draw();
    });
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#point(null));
    this.#canvas.addEventListener("wheel", (event) => this.#zoomBy(event), { passive: false });
    this.#readColors();
  }

  #canvas = byId("depth-chart");
  #legend = byId("depth-legend");
  #book = null;
  #colors = {};
  #size = { width: 0, height: 0 };
  #pointer = null;
  #zoom = 1;

  show(book) {
    this.#book = book;
    this.#zoom = 1;
    this.draw();
  }

  #readColors() {
    const style = getComputedStyle(document.body);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    this.#colors = {
      bid: of("bid"),
      ask: of("ask"),
      bidArea: of("bid-soft"),
      askArea: of("ask-soft"),
      text: of("muted"),
      line: of("line"),
      font: `11px ${style.fontFamily}`,
    };
  }

  #point(x) {
    this.#pointer = x;
    this.draw();
  }

  #zoomBy(event) {
    event.preventDefault();
    this.#zoom = Math.min(20, Math.max(0.25, this.#zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2)));
    this.draw();
  }

  #draw() {
    const context = this.#prepare();
    const book = this.#book;
    if (context === null) return;
    const { width, height } = this.#size;
    context.clearRect(0, 0, width, height);
    if (book === null || (book.bids.length === 0 && book.asks.length === 0)) {
      setText(this.#legend, book?.lastSequence == null ? "Not known yet" : "The book is empty");
      return;
    }
    const view = this.#view(book, width, height - AXIS);
    this.#area(context, view, view.bids, this.#colors.bid, this.#colors.bidArea);
    this.#area(context, view, view.asks, this.#colors.ask, this.#colors.askArea);
    this.#axis(context, view, height);
    this.#describe(context, view);
  }

  /** As sharp as the screen is. Null when there is no room. */
  #prepare() {
    const canvas = this.#canvas;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(this.#size.width * scale), Math.round(this.#size.height * scale)];
    if (width === 0 || height === 0) return null;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    return context;
  }

  #view(book, width, height) {
    const { bids, asks } = book;
    const middle = ((bids.prices[0] ?? asks.prices[0]) + (asks.prices[0] ?? bids.prices[0])) / 2;
    const reach = Math.max(farthest(bids, middle), farthest(asks, middle), 1) / this.#zoom;
    const found = { middle, reach, width, height, bids: sums(bids, middle, reach), asks: sums(asks, middle, reach) };
    found.most = Math.max(found.bids.at(-1)?.sum ?? 0, found.asks.at(-1)?.sum ?? 0, 1) * 1.1;
    found.x = (ticks) => (width * (ticks - middle + reach)) / (2 * reach);
    found.y = (sum) => height - (height * sum) / found.most;
    return found;
  }

  /** In steps: between two levels there is nothing more to be had. */
  #area(context, view, points, color, fill) {
    if (points.length === 0) return;
    const isBid = points === view.bids;
    const end = isBid ? 0 : view.width;
    const outline = new Path2D();
    outline.moveTo(view.x(points[0].ticks), view.height);
    let y = view.height;
    for (const { ticks, sum } of points) {
      outline.lineTo(view.x(ticks), y);
      y = view.y(sum);
      outline.lineTo(view.x(ticks), y);
    }
    outline.lineTo(end, y);
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.stroke(outline);
    const area = new Path2D(outline);
    area.lineTo(end, view.height);
    context.fillStyle = fill;
    context.fill(area);
  }

  #axis(context, view, height) {
    const { tick } = this.#book;
    context.fillStyle = this.#colors.text;
    context.font = this.#colors.font;
    context.textBaseline = "bottom";
    const widest = context.measureText(grouped(tick.format(Math.round(view.middle + view.reach)))).width;
    const count = Math.max(1, Math.min(LABELS, Math.floor(view.width / (widest + 16)) - 1));
    for (let at = 0; at <= count; at++) {
      const ticks = Math.round(view.middle - view.reach + (2 * view.reach * at) / count);
      if (ticks <= 0) continue;
      context.textAlign = at === 0 ? "left" : at === count ? "right" : "center";
      context.fillText(grouped(tick.format(ticks)), at === 0 ? 4 : view.x(ticks) - (at === count ? 4 : 0), height - 3);
    }
    context.strokeStyle = this.#colors.line;
    context.lineWidth = 1;
    context.strokeRect(-1, view.height + 0.5, view.width + 2, 0);
  }

  /** What is under the pointer, or else how much there is on both sides. */
  #describe(context, view) {
    const { tick, lot } = this.#book;
    if (this.#pointer === null) {
      const of = (points) => quantity(lot, points.at(-1));
      setText(this.#legend, `Bids ${of(view.bids)}  ·  Asks ${of(view.asks)}`);
      return;
    }
    const ticks = view.middle - view.reach + (2 * view.reach * this.#pointer) / view.width;
    const points = ticks < view.middle ? view.bids : view.asks;
    const reached = points.filter((each) => Math.abs(each.ticks - view.middle) <= Math.abs(ticks - view.middle)).at(-1);
    context.strokeStyle = this.#colors.text;
    context.setLineDash([3, 3]);
    context.strokeRect(this.#pointer + 0.5, 0, 0, view.height);
    context.setLineDash([]);
    const side = ticks < view.middle ? "Bids down" : "Asks up";
    const price = grouped(tick.format(BigInt(Math.max(0, Math.round(ticks)))));
    setText(this.#legend, `${side} to ${price}: ${quantity(lot, reached)}`);
  }
}

const quantity = (lot, point) => grouped(fitted(lot.format(point?.lots ?? 0n), 3, CHARACTERS));

/** How far from the middle the levels reach, but for a few that are far away from the others. */
function farthest(side, middle) {
  const count = Math.min(side.length, LEVELS);
  if (count === 0) return 0;
  const [quarter, all] = [Math.ceil((count - 1) / 4), count - 1].map((at) => Math.abs(side.prices[at] - middle));
  return Math.min(all, FAR * quarter);
}

/** The levels in reach, with what there is up to each: exactly as lots, and as a float to draw. */
function sums(side, middle, reach) {
  const found = [];
  let lots = 0n;
  for (let at = 0; at < side.length; at++) {
    const ticks = side.prices[at];
    if (Math.abs(ticks - middle) > reach) break;
    lots += side.lots[at];
    found.push({ ticks, lots, sum: Number(lots) });
  }
  return found;
}
