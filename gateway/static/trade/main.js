// The trading page: everything plugged together. What comes from the exchange goes to the models (book, own orders) and
// from there to the views; what a person does goes to the exchange, and comes back the same way.

import { ApiKey } from "./api_key.js";
import { Book } from "./book.js";
import { Candles } from "./candles.js";
import { Connection } from "./connection.js";
import { DepthChart } from "./depth_chart.js";
import { byId, clockTime, element, remember, remembered, setText } from "./dom.js";
import { Fills } from "./fills.js";
import { listenToKeys } from "./keyboard.js";
import { Ladder } from "./ladder.js";
import { Market } from "./market.js";
import { OpenOrders } from "./open_orders.js";
import { OrderForm } from "./order_form.js";
import { Rules } from "./order_rules.js";
import { OwnOrders } from "./own_orders.js";
import { Rest } from "./rest.js";
import { Tape } from "./tape.js";

const LEVELS = 1000; // the most that the exchange sends of a part of a book
const TAPE_TRADES = 60;
const FILLED_ORDERS = 10; // whose fills are looked up at the start; all later ones come by the stream
const DAY_FIGURES_MS = 60_000;
const RETRY_MS = 1_000;
const ABSENCE_MS = 3_000; // without a connection, at the start: then a person is told
const LISTED_MS = 2_000; // the list of instruments is not asked for more often
const STATES = { live: "Live", stale: "Stale", resyncing: "Resyncing", offline: "Offline" };

class Page {
  constructor(config, instruments, rest) {
    this.rest = rest;
    this.#list(instruments);
    this.connection = new Connection(config.ws_url, {
      onState: (state) => this.#onState(state),
      onHeartbeat: (sequence) => this.#onHeartbeat(sequence),
      onKeyProblem: (problem) => this.#onKeyProblem(problem),
      onAuthenticated: (answer) => this.#onAuthenticated(answer),
    });
    const read = (path) => rest.read(path);
    const send = (...command) => rest.command(...command);
    this.own = new OwnOrders();
    this.ladder = new Ladder((picked) => this.form.pick(picked));
    this.depth = new DepthChart();
    this.tape = new Tape();
    this.market = new Market(read);
    this.candles = new Candles(read);
    this.fills = new Fills();
    this.form = new OrderForm({
      send,
      account: () => this.account,
      onPlaced: (order, milliseconds) => this.#onAnswer(order, milliseconds),
      onRefused: (refusal) => this.#onRefused(refusal),
    });
    this.openOrders = new OpenOrders({
      send,
      rulesOf: (symbol) => this.rules.get(symbol),
      onAnswer: (order, milliseconds) => this.#onAnswer(order, milliseconds),
      say: (text, kind, details) => this.form.say(text, kind, details),
      pick: (symbol) => this.show(symbol),
    });
    this.openOrders.account = () => this.account;
    this.interval = byId("interval").value;
  }

  symbol = null;
  book = null;
  rules = new Map();
  #listedAt = -Infinity;
  #wasLive = false;
  #goodKey = null;
  #isKeyNew = false; // it was typed just now
  #whyNoOrders = "Not known yet";

  get account() {
    return byId("account").value.trim();
  }

  start(symbol) {
    this.show(symbol);
    this.#followOrders();
    this.connection.start();
    setInterval(() => this.quietly(this.market.load()), DAY_FIGURES_MS);
    setTimeout(() => this.#noteAbsence(), ABSENCE_MS);
  }

  #noteAbsence() {
    const note = byId("stale-note");
    if (this.connection.state !== "offline" || note.textContent !== "") return;
    setText(note, "No live prices: the WebSocket cannot be reached; trying again");
  }

  // What is looked at

  show(symbol) {
    if (symbol === this.symbol || !this.rules.has(symbol)) return;
    this.symbol = symbol;
    byId("symbol").value = symbol;
    remember("symbol", symbol);
    history.replaceState(null, "", `?symbol=${encodeURIComponent(symbol)}`);
    const rules = this.rules.get(symbol);
    this.book = new Book(rules.tick, rules.lot, LEVELS);
    this.ladder.show(this.book);
    this.depth.show(this.book);
    this.tape.clear();
    this.market.show(symbol);
    this.form.book = this.book;
    this.form.show(rules);
    this.openOrders.symbol = symbol;
    this.#followMarket();
    this.#followCandles();
    this.#readHistory();
    this.#showOwn();
  }

  /** New ones may have been listed: asked when somebody chooses, and when an own order is of one that is not known. */
  async learnInstruments() {
    if (performance.now() - this.#listedAt < LISTED_MS) return;
    this.#listedAt = performance.now();
    const { items } = await this.rest.read("/instruments");
    this.#list(items);
  }

  #list(instruments) {
    this.#listedAt = performance.now();
    const fresh = instruments.filter((each) => !this.rules.has(each.symbol));
    for (const each of instruments) this.rules.set(each.symbol, new Rules(each));
    byId("symbol").append(...fresh.map(({ symbol }) => element("option", { value: symbol }, symbol)));
  }

  showInterval(interval) {
    this.interval = interval;
    byId("interval").value = interval;
    remember("interval", interval);
    this.#followCandles();
    this.quietly(this.candles.load());
  }

  #followMarket() {
    const { symbol, book } = this;
    this.connection.subscribe("book", {
      fields: () => ({ channel: "book", symbol, levels: LEVELS }),
      onMessage: (message) => this.#onBook(book, message),
      isReady: (message) => message.type === "snapshot",
    });
    this.connection.subscribe("trades", {
      fields: () => ({ channel: "trades", symbol, ...(this.tape.newest ? { after: this.tape.newest.trade_id } : {}) }),
      onMessage: (message) => this.#onTrades([message.trade]),
      onProblem: () => this.#tradesAnew(),
    });
    this.connection.subscribe("ticker", {
      fields: () => ({ channel: "ticker", symbol }),
      onMessage: (message) => this.market.update(message.ticker),
    });
    this.connection.subscribe("status", {
      fields: () => ({ channel: "status", symbol }),
      onMessage: (message) => this.#onInstrument(message.instrument),
    });
  }

  #followCandles() {
    const { symbol, interval } = this;
    this.candles.show(symbol, interval, this.rules.get(symbol).tick);
    this.connection.subscribe("candles", {
      fields: () => ({ channel: "candles", symbol, interval }),
      onMessage: (message) => this.candles.update(message.candle),
    });
  }

  /** From REST, besides what the streams bring: at the start, and after a while without them. */
  #readHistory() {
    this.quietly(this.candles.load());
    this.quietly(this.market.load());
    this.quietly(this.#readTrades());
  }

  async #readTrades() {
    const { symbol } = this;
    const { items } = await this.rest.read(`/trades?symbol=${encodeURIComponent(symbol)}&limit=${TAPE_TRADES}`);
    if (symbol === this.symbol) this.#onTrades(items);
  }

  /** The trades since the last one are no longer at hand, or there is no such trade: begin again. */
  #tradesAnew() {
    if (this.tape.newest === null) return false;
    this.tape.clear();
    this.quietly(this.#readTrades());
    return true;
  }

  /** History that cannot be read now is missing, no more: it is read again when the connection is back. */
  async quietly(reading) {
    try {
      await reading;
    } catch (error) {
      if (error.status === undefined) throw error;
    }
  }

  // What comes from the exchange

  #onBook(book, message) {
    if (book !== this.book) return true;
    if (message.type === "snapshot") book.reset(message);
    else if (book.lastSequence === null) return true; // of before the new snapshot, on its way still
    else if (!book.apply(message)) {
      book.lastSequence = null;
      return false;
    }
    this.ladder.draw();
    this.depth.draw();
    this.form.bookChanged();
    return true;
  }

  #onTrades(trades) {
    this.tape.add(trades);
    if (this.tape.newest === null) return;
    this.ladder.lastTrade(this.tape.newest);
    this.candles.traded(this.tape.newest);
  }

  #onInstrument(instrument) {
    const rules = new Rules(instrument);
    this.rules.set(instrument.symbol, rules);
    if (instrument.symbol === this.symbol) this.form.show(rules);
  }

  #onState(state) {
    const shown = byId("connection");
    shown.dataset.state = state;
    setText(shown, STATES[state]);
    document.documentElement.dataset.connection = state;
    if (state === "live") {
      if (!this.#wasLive) this.#readHistory();
      this.#wasLive = true;
      setText(byId("stale-note"), "");
    } else if (this.#wasLive) {
      this.#wasLive = state === "resyncing"; // a gap loses nothing but the book; a lost connection does
      const since = new Date(Date.now() - this.connection.silentFor);
      if (state !== "resyncing") setText(byId("stale-note"), `Prices as of ${clockTime(since)}`);
    }
  }

  #onHeartbeat(sequence) {
    if (this.own.isKnown && this.connection.state === "live") this.own.reached(sequence);
  }

  // Own orders

  #followOrders() {
    const { account } = this;
    this.own.clear();
    this.#whyNoOrders = "Not known yet";
    this.#showOwn();
    this.connection.subscribe("orders", {
      fields: () => ({ channel: "orders", ...(account === "" ? {} : { account }), ...this.#goingOn() }),
      onMessage: (message) => this.#onOrders(message),
      onProblem: (problem) => this.#ordersAnew(problem),
      isReady: (message) => message.type === "snapshot" && !message.more,
    });
  }

  #goingOn() {
    const { isKnown, sequence, index } = this.own;
    if (!isKnown) return {};
    return index === null ? { after: sequence } : { after: sequence, after_index: index };
  }

  #ordersAnew(problem) {
    const goesOn = problem.code === "gap" || problem.code === "ahead";
    this.own.clear();
    this.#whyNoOrders = { 401: "An API key is needed", 403: "Not for this key" }[problem.status] ?? "Not known yet";
    if (!goesOn) this.#showOwn();
    return goesOn;
  }

  #onOrders(message) {
    if (!this.#isOurs(message)) return true; // of the account before, on its way still
    if (message.type !== "snapshot") {
      if (this.own.update(message)) this.#showOwn();
      return true;
    }
    this.own.snapshot(message);
    if (this.own.isKnown) this.quietly(this.#readFills()); // and whoever may not see orders is not asked for fills
    this.#showOwn();
    return true;
  }

  #isOurs(message) {
    const { account } = this;
    if (account === "") return true;
    return message.type === "snapshot" ? (message.accounts ?? [account]).includes(account) : message.order.account === account;
  }

  /** Of the latest orders that were filled: the fills before the stream began. */
  async #readFills() {
    const { account } = this;
    const query = new URLSearchParams({ limit: "50", ...(account === "" ? {} : { account }) });
    const { items } = await this.rest.readOwn(`/orders?${query}`);
    const filled = items.filter((order) => /[1-9]/.test(order.filled_quantity)).slice(0, FILLED_ORDERS);
    const trades = await Promise.all(filled.map((order) => this.rest.readOwn(`/orders/${order.order_id}/trades?limit=20`)));
    if (account !== this.account) return;
    filled.forEach((order, at) => trades[at].items.forEach((trade) => this.own.filled(order, trade)));
    this.#showOwn();
  }

  #showOwn() {
    const open = this.own.open();
    if (open.some((order) => !this.rules.has(order.symbol))) this.quietly(this.learnInstruments());
    const here = open.filter((order) => order.symbol === this.symbol);
    this.openOrders.show(open, this.own.isKnown ? "No open orders" : this.#whyNoOrders);
    this.fills.show(this.own.fills, this.own.isKnown ? "No fills yet" : this.#whyNoOrders);
    this.ladder.ownOrders(here);
    this.candles.ownOrders(here);
  }

  /** To a command of ours. The stream says the same, a moment earlier or later. */
  #onAnswer(order, milliseconds) {
    setText(byId("latency"), `${milliseconds.toFixed(milliseconds < 100 ? 1 : 0)} ms`);
    byId("latency").parentElement.classList.remove("unknown");
    if (order === null) return;
    this.own.told(order);
    for (const trade of order.trades ?? []) this.own.filled(order, trade);
    this.#showOwn();
  }

  #onRefused(refusal) {
    if (refusal.status !== 401) return;
    this.#onKeyProblem(refusal);
    byId("key").focus();
  }

  // Keys

  useAccount() {
    remember("account", this.account);
    if (this.#goodKey !== null) this.#praiseKey(); // it may not have been for the account before
    this.#followOrders();
    this.form.refresh();
  }

  /** What was typed; nothing means that there is no key any more. */
  useKey(text) {
    const key = ApiKey.parse(text);
    if (key === null && text !== "") {
      this.#noteKey("This is not a whole key. It reads pt_, an id, _ and a secret: as it was shown once, when it was made", "bad");
      return;
    }
    rememberKey(text);
    this.#noteKey("");
    this.#isKeyNew = key !== null;
    this.#goodKey = null;
    this.own.clear();
    this.#showOwn();
    this.rest.key = key;
    this.connection.useKey(key);
  }

  #onKeyProblem(problem) {
    const { key } = this.rest;
    if (problem.status !== 403) this.#goodKey = null;
    const [note, kind] = keyProblem(problem, key, this.account);
    this.#noteKey(note, kind, problem.detail ?? problem.message);
    this.#labelKey(key === null ? "Key needed" : `Key ${key.id.slice(0, 4)}…`, kind, note);
    this.showKeyForm(true);
  }

  #praiseKey() {
    const { id, words } = this.#goodKey;
    this.#noteKey(words, "good");
    this.#labelKey(`Key ${id.slice(0, 4)}…`, "good", words);
    this.showKeyForm(false);
  }

  #noteKey(text, kind = "", details = "") {
    const note = byId("key-note");
    setText(note, text);
    note.title = details;
    note.dataset.kind = kind;
  }

  #labelKey(text, kind, title) {
    const button = byId("key-button");
    button.hidden = false;
    setText(button, text);
    button.dataset.kind = kind;
    button.title = title;
  }

  showKeyForm(isShown) {
    byId("key-form").hidden = !isShown;
    byId("key-button").setAttribute("aria-expanded", String(isShown));
  }

  #onAuthenticated({ key_id: keyId, scopes, accounts }) {
    const may = `This key may ${scopes.join(", ")}.`;
    const how = this.rest.key?.signs ? "Each request is signed; the key stays here." : "The key itself is sent.";
    this.#goodKey = { id: keyId, words: `${may} ${how}` };
    this.#praiseKey();
    if (this.#isKeyNew) this.form.say(this.#goodKey.words, "good");
    this.#isKeyNew = false;
    byId("accounts").replaceChildren(...(accounts ?? []).map((each) => element("option", { value: each })));
    if (accounts === null || accounts.length === 0 || accounts.includes(this.account)) return;
    byId("account").value = accounts[0];
    this.useAccount();
  }
}

/** In words, and of what kind they are. */
function keyProblem({ status, code }, key, account) {
  if (key === null) return ["An API key is needed to trade", ""];
  if (status === 403) return [`This key is not for the account ${account || "of everybody"}`, "bad"];
  if (code === "key_ended") return ["This key is no longer good", "bad"];
  if (key.signs) return ["This key is not good here", "bad"];
  return ["This key is not good here. A --signed-only key is over https or on localhost: else browsers cannot sign", "bad"];
}

/** A key is kept as long as the tab, and nowhere else. */
function rememberKey(key) {
  try {
    if (key) sessionStorage.setItem("pricetime.key", key);
    else sessionStorage.removeItem("pricetime.key");
  } catch {
    // then it is to be given again
  }
}

function rememberedKey() {
  try {
    return sessionStorage.getItem("pricetime.key");
  } catch {
    return null;
  }
}

function listen(page) {
  byId("symbol").addEventListener("change", (event) => page.show(event.target.value));
  for (const moment of ["pointerdown", "focus"]) {
    byId("symbol").addEventListener(moment, () => page.quietly(page.learnInstruments()));
  }
  byId("interval").addEventListener("change", (event) => page.showInterval(event.target.value));
  byId("account").addEventListener("change", () => page.useAccount());
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    page.useKey(byId("key").value.trim());
  });
  byId("key-button").addEventListener("click", () => {
    page.showKeyForm(byId("key-form").hidden);
    byId("key").focus();
  });
  byId("theme").addEventListener("click", () => globalThis.toggleTheme());
  addEventListener("online", () => page.connection.hurry());
  document.addEventListener("visibilitychange", () => document.hidden || page.connection.hurry());
  const another = (by) => {
    const select = byId("symbol");
    const count = select.options.length;
    page.show(select.options[(select.selectedIndex + by + count) % count].value);
  };
  const interval = (by) => {
    const next = byId("interval").options[byId("interval").selectedIndex + by];
    if (next !== undefined) page.showInterval(next.value);
  };
  listenToKeys({
    b: () => page.form.side("buy"),
    s: () => page.form.side("sell"),
    l: () => page.form.type("limit"),
    m: () => page.form.type("market"),
    p: () => page.form.focus("price"),
    q: () => page.form.focus("quantity"),
    "/": () => byId("symbol").focus(),
    j: () => another(1),
    k: () => another(-1),
    "[": () => page.ladder.regroup(-1),
    "]": () => page.ladder.regroup(1),
    ",": () => interval(-1),
    ".": () => interval(1),
    o: () => byId("open-orders").querySelector("button")?.focus(),
    d: () => byId("asks").focus(),
    X: () => byId("cancel-all").disabled || byId("cancel-all").click(),
    t: () => globalThis.toggleTheme(),
  });
}

/** What must be known before anything can be shown; asked for until it is there. */
async function asked(rest, path) {
  for (;;) {
    try {
      return await rest.read(path);
    } catch (refusal) {
      setText(byId("stale-note"), `Waiting for the exchange: ${refusal.message}`);
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

async function main() {
  const rest = new Rest();
  const config = await asked(rest, "/config.json");
  const { items: instruments } = await asked(rest, "/instruments");
  setText(byId("stale-note"), "");
  setText(byId("version"), config.version);
  byId("account").value = remembered("account", "default");
  byId("interval").value = remembered("interval", "1m");
  if (byId("interval").value === "") byId("interval").value = "1m";
  const page = new Page(config, instruments, rest);
  listen(page);
  const key = ApiKey.parse(rememberedKey() ?? "");
  if (key !== null) {
    rest.key = page.connection.key = key;
    byId("key").value = key.text;
  }
  const known = instruments.map((each) => each.symbol);
  const wanted = [new URLSearchParams(location.search).get("symbol"), remembered("symbol", null), config.default_symbol];
  page.start(wanted.find((each) => known.includes(each)) ?? known[0]);
  expose(page);
}

/** For tests and the curious, to look at. */
function expose(page) {
  window.pricetime = Object.freeze({
    get state() {
      return page.connection.state;
    },
    get symbol() {
      return page.symbol;
    },
    get sequence() {
      return page.book.lastSequence;
    },
    get levels() {
      return { bids: page.book.bids.length, asks: page.book.asks.length };
    },
    get candles() {
      return { last: page.candles.last, count: page.candles.count };
    },
    get openOrders() {
      return page.own.open();
    },
    get fills() {
      return page.own.fills.map((fill) => fill.trade);
    },
  });
}

await main();
