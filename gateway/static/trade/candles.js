// Candles and volume, drawn by Lightweight Charts on a canvas. Its numbers are floats: they are for the eye, nothing that
// is sent is read from here.

import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  HistogramSeries,
  LineStyle,
  createChart,
} from "../vendor/lightweight-charts/lightweight-charts.mjs";
import { byId, setText } from "./dom.js";
import { drawing } from "./frames.js";
import { fitted, grouped, trimmed } from "./decimals.js";

const PAGE = 500;
const UNITS = { s: 1, m: 60, h: 3600, d: 86400 };
const TRADE_MS = 200;
const KEPT = 20_000; // a page may be open for days, on candles of a second
const LABELLED = 6; // own orders, at most; more of them would hide the prices
const NEAR = 0.02; // of the last price: the label of one that is out of sight would stand at the edge
const FAR_LEFT = 20; // so many candles from the first one, older ones are asked for

export class Candles {
  /** `read(path)` asks REST. */
  constructor(read) {
    this.#read = read;
    this.#chart = createChart(this.#place, {
      autoSize: true,
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: 1 },
      rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.24 } },
      localization: { locale: "en-GB", timeFormatter: (time) => localTime(time, true) },
      // the link that its licence asks for is on the page itself: this one brings a style sheet that the
      // Content-Security-Policy would have to let in
      layout: { attributionLogo: false, fontSize: 11 },
      handleScale: { axisPressedMouseMove: { time: true, price: true } },
    });
    this.#bars = this.#chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#chart.subscribeCrosshairMove((at) => this.#showAt(at.time));
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range !== null && range.from < FAR_LEFT) this.#older();
    });
    this.#drawTrade = drawing(() => this.#showTrade(), TRADE_MS);
    this.colors();
    document.addEventListener("themechange", () => this.colors());
  }

  #read;
  #place = byId("candles");
  #legend = byId("candle-legend");
  #chart;
  #bars;
  #volumes;
  #candles = []; // oldest first, as the exchange tells them
  #symbol = null;
  #interval = null;
  #hasOlder = false;
  #isAsking = false;
  #hovered = null;
  #lines = [];
  #palette = {};
  #tick = null;
  #trade = null;
  #drawTrade;

  /** The newest candle, as the exchange told it. */
  get last() {
    return this.#candles.at(-1) ?? null;
  }

  get count() {
    return this.#candles.length;
  }

  /** Another symbol or interval: what was known is gone until the history has come. */
  show(symbol, interval, tick) {
    this.#symbol = symbol;
    this.#interval = interval;
    this.#tick = tick;
    this.#candles = [];
    this.#hasOlder = false;
    this.#hovered = null;
    this.#trade = null;
    this.#bars.applyOptions({
      priceFormat: { type: "price", precision: tick.decimals, minMove: tick.approximate(1n) },
    });
    const seconds = interval.endsWith("s");
    this.#chart.applyOptions({
      timeScale: {
        secondsVisible: seconds,
        timeVisible: interval !== "1d",
        tickMarkFormatter: (time, kind) => tickMark(time, kind, seconds),
      },
    });
    this.#redraw();
    this.#chart.timeScale().applyOptions({ barSpacing: 7 });
    this.#chart.timeScale().scrollToRealTime();
  }

  /** The newest candles from REST: at the start, and after a connection was lost. */
  async load() {
    const { items, isStale } = await this.#page("");
    if (isStale) return;
    const kept = items.length === 0 ? this.#candles : this.#candles.filter((each) => each.open_time < items[0].open_time);
    // what the stream has brought meanwhile is newer
    const newer = this.#candles.filter((each) => each.open_time >= (items.at(-1)?.open_time ?? ""));
    const older = kept.length > 0 && items.length < PAGE ? kept : [];
    this.#candles = merged([...older, ...items], newer);
    this.#hasOlder = items.length === PAGE;
    this.#redraw();
  }

  /** From the stream: the one being formed, or one that is complete now. */
  update(candle) {
    const last = this.last;
    if (last !== null && candle.open_time < last.open_time) {
      const at = this.#candles.findIndex((each) => each.open_time === candle.open_time);
      if (at >= 0) {
        this.#candles[at] = candle;
        this.#redraw();
      }
      return;
    }
    if (last !== null && candle.open_time === last.open_time) this.#candles[this.#candles.length - 1] = candle;
    else this.#candles.push(candle);
    if (this.#candles.length > KEPT) this.#forget();
    this.#bars.update(bar(candle));
    this.#volumes.update(this.#volume(candle));
    if (this.#hovered === null) this.#showLegend(candle);
  }

  /** The newest trade: candles come once a second, and nobody should have to wait for the line to move. */
  traded(trade) {
    this.#trade = trade;
    this.#drawTrade();
  }

  #showTrade() {
    const [trade, last] = [this.#trade, this.last];
    if (trade === null || this.#candles.length === 0) return;
    const length = Number.parseInt(this.#interval, 10) * UNITS[this.#interval.at(-1)];
    const opens = Math.floor(seconds(trade.executed_at) / length) * length;
    if (opens !== seconds(last.open_time)) return; // the first of a candle: the stream brings it in a moment
    const price = Number(trade.price);
    const { time, open, high, low } = bar(last);
    this.#bars.update({ time, open, high: Math.max(high, price), low: Math.min(low, price), close: price });
  }

  /** Own resting orders of this symbol, as lines. */
  ownOrders(orders) {
    for (const line of this.#lines.splice(0)) this.#bars.removePriceLine(line);
    const last = Number(this.last?.close ?? NaN);
    const isLabelled = (price) => orders.length <= LABELLED && Math.abs(price / last - 1) < NEAR;
    for (const order of orders) {
      const price = order.price ?? order.stop_price;
      if (price === null || this.#lines.length >= 20) continue;
      this.#lines.push(
        this.#bars.createPriceLine({
          price: Number(price),
          color: order.side === "buy" ? this.#palette.bid : this.#palette.ask,
          lineWidth: 1,
          lineStyle: LineStyle.Dashed,
          axisLabelVisible: isLabelled(Number(price)),
          axisLabelColor: this.#palette.raised,
          axisLabelTextColor: this.#palette.text,
          title: `${order.side} ${trimmed(order.quantity)}`,
        }),
      );
    }
  }

  colors() {
    const style = getComputedStyle(document.body);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    const sides = { bid: of("bid"), ask: of("ask"), bidSoft: of("bid-chart"), askSoft: of("ask-chart") };
    this.#palette = { ...sides, raised: of("raised"), text: of("text") };
    const line = of("line-soft");
    this.#chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: of("panel") },
        textColor: of("muted"),
        fontFamily: style.fontFamily,
      },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: of("line") },
      timeScale: { borderColor: of("line") },
    });
    const { bid, ask } = this.#palette;
    this.#bars.applyOptions({ upColor: bid, downColor: ask, wickUpColor: bid, wickDownColor: ask });
    this.#volumes.setData(this.#candles.map((each) => this.#volume(each)));
  }

  async #older() {
    const first = this.#candles[0];
    if (first === undefined || !this.#hasOlder || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const { items, isStale } = await this.#page(`&to=${encodeURIComponent(first.open_time)}`);
      if (isStale) return;
      this.#hasOlder = items.length === PAGE;
      if (items.length === 0) return;
      const range = this.#chart.timeScale().getVisibleLogicalRange();
      this.#candles = merged(items, this.#candles);
      this.#redraw();
      const by = items.length;
      if (range) this.#chart.timeScale().setVisibleLogicalRange({ from: range.from + by, to: range.to + by });
    } catch {
      this.#hasOlder = false; // not worth a message: the newest ones are there
    } finally {
      this.#isAsking = false;
    }
  }

  /** The older half, unless it is being looked at; it comes again when it is. */
  #forget() {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    const by = this.#candles.length - KEPT / 2;
    if (range !== null && range.from < by + FAR_LEFT) return;
    this.#candles.splice(0, by);
    this.#hasOlder = true;
    this.#redraw();
    if (range) this.#chart.timeScale().setVisibleLogicalRange({ from: range.from - by, to: range.to - by });
  }

  async #page(more) {
    const [symbol, interval] = [this.#symbol, this.#interval];
    const path = `/market/${encodeURIComponent(symbol)}/candles?interval=${interval}&limit=${PAGE}${more}`;
    const { items } = await this.#read(path);
    return { items, isStale: symbol !== this.#symbol || interval !== this.#interval };
  }

  #redraw() {
    this.#bars.setData(this.#candles.map(bar));
    this.#volumes.setData(this.#candles.map((each) => this.#volume(each)));
    this.#showLegend(this.last);
  }

  #volume(candle) {
    const rises = Number(candle.close) >= Number(candle.open);
    return {
      time: seconds(candle.open_time),
      value: Number(candle.volume),
      color: rises ? this.#palette.bidSoft : this.#palette.askSoft,
    };
  }

  #showAt(time) {
    const found = time === undefined ? undefined : this.#candles.find((each) => seconds(each.open_time) === time);
    this.#hovered = found ?? null;
    this.#showLegend(found ?? this.last);
  }

  #showLegend(candle) {
    if (candle === null) {
      setText(this.#legend, "No trades yet");
      return;
    }
    const { open, high, low, close, volume } = candle;
    const change = (100 * (Number(close) - Number(open))) / Number(open);
    const figures = [`O ${grouped(open)}`, `H ${grouped(high)}`, `L ${grouped(low)}`, `C ${grouped(close)}`];
    const percent = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)}%`;
    setText(this.#legend, `${percent}  ${figures.join("  ")}  V ${grouped(fitted(volume, 3, 10))}`);
  }
}

/** Both oldest first; where both have a candle, the newer word counts. */
function merged(earlier, later) {
  const first = later[0]?.open_time;
  return first === undefined ? earlier : [...earlier.filter((each) => each.open_time < first), ...later];
}

function bar(candle) {
  return {
    time: seconds(candle.open_time),
    open: Number(candle.open),
    high: Number(candle.high),
    low: Number(candle.low),
    close: Number(candle.close),
  };
}

const seconds = (iso) => Date.parse(iso) / 1000;
const two = (number) => String(number).padStart(2, "0");

/** The library writes UTC; people look at their own clock. */
function localTime(time, withDate) {
  const at = new Date(time * 1000);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return withDate ? `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}` : clock;
}

function tickMark(time, kind, withSeconds) {
  const at = new Date(time * 1000);
  if (kind === 0) return String(at.getFullYear());
  if (kind === 1) return at.toLocaleDateString("en-GB", { month: "short" });
  if (kind === 2) return `${at.getDate()} ${at.toLocaleDateString("en-GB", { month: "short" })}`;
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return withSeconds && kind === 4 ? `${clock}:${two(at.getSeconds())}` : clock;
}
