// The connection: what it says of itself, and that it comes back with everything that was wanted.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Connection } from "../../../gateway/static/trade/connection.js";

let sockets, states, keyProblems, connection, now;

class PlayedSocket {
  constructor(url) {
    this.url = url;
    this.readyState = 0;
    this.sent = [];
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  opens() {
    this.readyState = 1;
    return this.onopen();
  }

  breaks(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  says(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** Answers the newest request of this operation and channel. */
  answers(op, channel, answer = { type: `${op}d` }) {
    const request = this.sent.findLast((each) => each.op === op && (channel === null || each.channel === channel));
    this.says({ id: request.id, ...answer });
  }
}

const socket = () => sockets.at(-1);
const ops = () => socket().sent.map(({ op, channel }) => `${op} ${channel ?? ""}`.trim());
const snapshot = (more = {}) => ({ channel: "book", type: "snapshot", symbol: "TIN", ...more });
const book = (more = {}) => ({
  fields: () => ({ channel: "book", symbol: "TIN" }),
  onMessage: () => true,
  isReady: (message) => message.type === "snapshot",
  ...more,
});

function pass(milliseconds) {
  now += milliseconds;
  mock.timers.tick(milliseconds);
}

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  [sockets, states, keyProblems, now] = [[], [], [], 0];
  connection = new Connection("ws://here/ws", {
    open: (url) => new PlayedSocket(url),
    now: () => now,
    onState: (state) => states.push(state),
    onKeyProblem: (problem) => keyProblems.push(problem.code),
  });
});

afterEach(() => {
  connection.stop();
  mock.timers.reset();
});

test("live when all that was asked for has begun", () => {
  connection.subscribe("book", book());
  connection.subscribe("ticker", { fields: () => ({ channel: "ticker", symbol: "TIN" }), onMessage() {} });
  connection.start();
  assert.equal(connection.state, "offline");
  socket().opens();
  assert.deepEqual(ops(), ["subscribe book", "subscribe ticker"]);
  socket().answers("subscribe", "book");
  socket().answers("subscribe", "ticker");
  assert.equal(connection.state, "resyncing"); // the snapshot is still to come
  socket().says(snapshot());
  assert.deepEqual(states, ["resyncing", "live"]);
});

test("stale when nothing comes, live when something does", () => {
  connection.start();
  socket().opens();
  pass(3_000);
  assert.equal(connection.state, "stale");
  socket().says({ type: "heartbeat", sequence: 1 });
  assert.deepEqual(states, ["live", "stale", "live"]);
});

test("a connection that stays silent is given up", () => {
  connection.start();
  socket().opens();
  pass(11_000);
  assert.equal(sockets.length, 2);
  assert.equal(sockets[0].readyState, 3);
  assert.equal(connection.state, "offline");
});

test("one that breaks is made again, with everything that was wanted", () => {
  let after = 7;
  connection.subscribe("book", book());
  connection.subscribe("trades", { fields: () => ({ channel: "trades", symbol: "TIN", after }), onMessage() {} });
  connection.start();
  socket().opens();
  socket().breaks();
  assert.equal(connection.state, "offline");
  after = 9;
  pass(1_000);
  socket().opens();
  assert.deepEqual(ops(), ["subscribe book", "subscribe trades"]);
  assert.equal(socket().sent[1].after, 9);
  assert.equal(connection.state, "resyncing");
});

test("the pauses between attempts grow, up to a limit, and begin anew when there is a heartbeat", () => {
  connection.start();
  const attempts = [];
  for (let at = 0; at < 8; at++) {
    socket().breaks();
    const before = now;
    const count = sockets.length;
    while (sockets.length === count) pass(10);
    attempts.push(now - before);
  }
  assert.ok(attempts[0] <= 320 && attempts[7] > 3_000 && attempts[7] <= 6_260, String(attempts));
  socket().opens();
  socket().says({ type: "heartbeat", sequence: 1 });
  socket().breaks();
  const count = sockets.length;
  pass(320);
  assert.equal(sockets.length, count + 1);
});

test("a server that goes away is given the time it asks for", () => {
  connection.start();
  socket().opens();
  socket().says({ type: "going_away", reconnect_after_ms: 2_000, sequence: 1 });
  socket().breaks(1001);
  pass(1_400);
  assert.equal(sockets.length, 1);
  pass(1_200);
  assert.equal(sockets.length, 2);
});

test("at once when the network is back", () => {
  connection.start();
  socket().breaks();
  connection.hurry();
  assert.equal(sockets.length, 2);
  pass(400);
  assert.equal(sockets.length, 2); // and not once more
});

test("a gap is subscribed to anew, and resyncing until the snapshot is there", () => {
  const heard = [];
  connection.subscribe("book", book({ onMessage: (message) => heard.push(message.type) && message.type !== "gap" }));
  connection.start();
  socket().opens();
  socket().answers("subscribe", "book");
  socket().says(snapshot());
  socket().says({ channel: "book", type: "gap", symbol: "TIN" });
  assert.deepEqual(ops(), ["subscribe book", "unsubscribe book", "subscribe book"]);
  assert.equal(connection.state, "resyncing");
  socket().says(snapshot());
  assert.equal(connection.state, "live");
  assert.deepEqual(heard, ["snapshot", "gap", "snapshot"]);
});

test("another symbol takes the place of the one before, whose last messages are not passed on", () => {
  const heard = [];
  const of = (symbol) => ({
    fields: () => ({ channel: "book", symbol }),
    onMessage: (message) => void heard.push(message.symbol),
  });
  connection.subscribe("book", of("TIN"));
  connection.start();
  socket().opens();
  connection.subscribe("book", of("GOLD"));
  assert.deepEqual(socket().sent.map(({ op, symbol }) => [op, symbol]), [
    ["subscribe", "TIN"], ["unsubscribe", "TIN"], ["subscribe", "GOLD"],
  ]);
  socket().says(snapshot({ symbol: "TIN" }));
  socket().says(snapshot({ symbol: "GOLD" }));
  assert.deepEqual(heard, ["GOLD"]);
});

test("where it goes on from is not said to end a subscription", () => {
  connection.subscribe("orders", { fields: () => ({ channel: "orders", account: "anna", after: 3, after_index: 1 }), onMessage() {} });
  connection.start();
  socket().opens();
  connection.unsubscribe("orders");
  assert.deepEqual(socket().sent[1], { id: 2, op: "unsubscribe", channel: "orders", account: "anna" });
});

test("going on after a place needs no snapshot", () => {
  connection.subscribe("book", book({ fields: () => ({ channel: "book", symbol: "TIN", after: 3 }) }));
  connection.start();
  socket().opens();
  socket().answers("subscribe", "book");
  assert.equal(connection.state, "live");
});

test("a refusal may begin the subscription anew, or leave it", () => {
  const problems = [];
  connection.subscribe("trades", {
    fields: () => ({ channel: "trades", ...(problems.length === 0 ? { after: 3 } : {}) }),
    onMessage() {},
    onProblem: (problem) => problems.push(problem.code) === 1,
  });
  connection.start();
  socket().opens();
  socket().answers("subscribe", "trades", { type: "error", problem: { code: "gap", status: 409 } });
  assert.deepEqual(ops(), ["subscribe trades", "subscribe trades"]);
  socket().answers("subscribe", "trades", { type: "error", problem: { code: "unknown_symbol", status: 422 } });
  assert.deepEqual(problems, ["gap", "unknown_symbol"]);
  assert.equal(connection.state, "live");
});

/** A key that signs; `isLate` says whether its clock had to be put right. */
function playedKey(isLate = false) {
  const times = [];
  return { times, signs: true, now: 0, fields: async () => ({ key_id: "pt_1" }), learnTime: (time) => times.push(time) > 0 && isLate };
}

/** A connection by key, as far as the answer to it. */
async function saysWhoItIs() {
  await socket().opens();
  return { with: (type, problem) => socket().answers("auth", null, { type, problem }) };
}

const REFUSED = ["error", { code: "unauthorized", status: 401 }];
const heartbeat = () => socket().says({ type: "heartbeat", sequence: 1, time: "12:00" });

test("the key is said first, and what is wrong with it is told", async () => {
  connection.subscribe("book", book());
  connection.start();
  socket().opens();
  connection.useKey(playedKey());
  const opened = socket().opens();
  connection.subscribe("ticker", { fields: () => ({ channel: "ticker", symbol: "TIN" }), onMessage() {} });
  assert.deepEqual(ops(), []); // it takes a moment to sign
  await opened;
  assert.deepEqual(ops(), ["auth", "subscribe book", "subscribe ticker"]);
  socket().answers("auth", null, { type: "error", problem: { code: "unauthorized", status: 401 } });
  socket().breaks(4001);
  assert.deepEqual(keyProblems, ["unauthorized", "key_ended"]);
});

test("a connection that ended while its key was signed for says nothing", async () => {
  connection.useKey(playedKey());
  connection.start();
  const [first, opened] = [socket(), socket().opens()];
  first.breaks();
  await opened;
  assert.deepEqual(first.sent, []);
});

test("a key that is refused is left at that", async () => {
  connection.useKey(playedKey());
  connection.start();
  (await saysWhoItIs()).with(...REFUSED);
  heartbeat();
  heartbeat();
  assert.equal(sockets.length, 1);
});

test("a clock that was wrong is put right by the heartbeat, and the key said again", async () => {
  const key = playedKey(true);
  connection.useKey(key);
  connection.start();
  (await saysWhoItIs()).with(...REFUSED);
  assert.equal(sockets.length, 1);
  heartbeat();
  assert.deepEqual(key.times, ["12:00"]);
  assert.equal(sockets.length, 2);
});

test("a key that was good is said again for a while: the broadcaster may have been started just now", async () => {
  connection.useKey(playedKey());
  connection.start();
  (await saysWhoItIs()).with("authenticated");
  socket().breaks();
  pass(1_000);
  for (let at = 0; at < 10; at++) {
    if (socket().readyState === 0) (await saysWhoItIs()).with(...REFUSED);
    heartbeat();
  }
  assert.equal(sockets.length, 2 + 6);
});
