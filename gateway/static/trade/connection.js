// One WebSocket to /ws that keeps itself alive: it connects again by itself, subscribes anew to what is wanted, and says
// how trustworthy what it brings is. docs/streams.md has the protocol.
//
//   offline    there is no connection
//   resyncing  connected; not everything that was asked for has begun to arrive
//   live       everything is here, and the heartbeat beats
//   stale      connected, but nothing has come for a while: what is shown may be old

const STALE_MS = 2_500; // the heartbeat is one a second
const DEAD_MS = 10_000;
const WATCH_MS = 500;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
const SIGNINGS = 6; // a broadcaster that was started anew takes no signature dated before, for as many seconds

export class Connection {
  /**
   * `open(url)` gives a WebSocket. `onState(state)` is called when it changes, `onHeartbeat(sequence)` each second, and
   * `onKeyProblem(problem)` when a key is missing or not good.
   */
  constructor(url, { open = (each) => new WebSocket(each), now = () => performance.now(), ...listeners } = {}) {
    this.url = url;
    this.state = "offline";
    /** An ApiKey, or null. */
    this.key = null;
    this.#open = open;
    this.#now = now;
    this.#listeners = { onState() {}, onHeartbeat() {}, onKeyProblem() {}, onAuthenticated() {}, ...listeners };
  }

  #open;
  #now;
  #listeners;
  #socket = null;
  #isReady = false; // to be asked: who we are has been said
  #isRefused = false; // the key, on this connection
  #wasGood = false; // the key, on an earlier one
  #signings = 0;
  #nextId = 1;
  #requests = new Map();
  #subscriptions = new Map();
  #heardAt = 0;
  #pause = FIRST_PAUSE_MS;
  #reconnect = null;
  #watch = null;

  start() {
    this.#watch ??= setInterval(() => this.#check(), WATCH_MS);
    this.#connect();
  }

  stop() {
    clearInterval(this.#watch);
    clearTimeout(this.#reconnect);
    this.#watch = null;
    this.#drop();
  }

  /** At once, instead of after the pause: the network has come back, or the page is looked at again. */
  hurry() {
    if (this.#socket === null && this.#watch !== null) this.#connect();
    else this.#check();
  }

  /** Another key: the connection begins anew, so that nothing of the old one's account is left. */
  useKey(key) {
    this.key = key;
    this.#wasGood = false;
    if (this.#watch === null) return;
    this.#drop();
    this.#connect();
  }

  /**
   * Want a channel, under a name of its own; another want of that name replaces it.
   * `fields()` is asked at each subscription, so that it can say where to go on from. `onMessage(message)` returns false
   * for one that shows a gap: then it is subscribed to anew. `onProblem(problem)` gets a refusal; it may return true to be
   * subscribed anew. `isReady(message)`: whether with this message all is here again; without it the answer is enough.
   */
  subscribe(name, { fields, onMessage, onProblem = () => false, isReady = null }) {
    this.unsubscribe(name);
    const subscription = { name, fields, onMessage, onProblem, isReady, sent: null, ready: false };
    this.#subscriptions.set(name, subscription);
    if (this.#isOpen) this.#begin(subscription);
    this.#judge();
  }

  unsubscribe(name) {
    const subscription = this.#subscriptions.get(name);
    if (subscription === undefined) return;
    this.#subscriptions.delete(name);
    if (this.#isOpen) this.#end(subscription);
    this.#judge();
  }

  /** Milliseconds since anything came. */
  get silentFor() {
    return this.#now() - this.#heardAt;
  }

  get #isOpen() {
    return this.#isReady && this.#socket !== null && this.#socket.readyState === 1;
  }

  #connect() {
    clearTimeout(this.#reconnect);
    this.#drop();
    const socket = this.#open(this.url);
    this.#socket = socket;
    this.#heardAt = this.#now();
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#heard(socket, event.data);
    socket.onclose = (event) => this.#closed(socket, event);
  }

  /** Without hearing anything more from it. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#isReady = this.#isRefused = false;
    this.#requests.clear();
    for (const subscription of this.#subscriptions.values()) subscription.ready = false;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#judge();
  }

  async #opened(socket) {
    if (socket !== this.#socket) return;
    this.#heardAt = this.#now();
    if (this.key !== null) {
      const fields = await this.key.fields();
      if (socket !== this.#socket || socket.readyState !== 1) return;
      this.#ask({ op: "auth", ...fields }, (answer) => this.#authenticated(answer));
    }
    this.#isReady = true;
    for (const subscription of this.#subscriptions.values()) this.#begin(subscription);
    this.#judge();
  }

  #closed(socket, event) {
    if (socket !== this.#socket) return;
    this.#drop();
    if (event.code === 4001) this.#listeners.onKeyProblem({ code: "key_ended", detail: "The key is no longer good." });
    // not all at the same moment, when a broadcaster comes back
    const pause = this.#pause * (0.75 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    this.#reconnect = setTimeout(() => this.#connect(), pause);
  }

  #heard(socket, text) {
    if (socket !== this.#socket) return;
    this.#heardAt = this.#now();
    const message = JSON.parse(text);
    if (message.channel !== undefined) {
      this.#passOn(message);
    } else if (message.type === "heartbeat") {
      this.#pause = FIRST_PAUSE_MS;
      this.#listeners.onHeartbeat(message.sequence);
      if (this.#isRefused) this.#signAgain(message.time);
    } else if (message.type === "going_away") {
      this.#pause = Math.max(FIRST_PAUSE_MS, message.reconnect_after_ms);
    } else if (message.id !== undefined) {
      this.#answered(message);
    }
    if (this.state !== "live") this.#judge();
  }

  #answered(message) {
    const onAnswer = this.#requests.get(message.id);
    this.#requests.delete(message.id);
    onAnswer?.(message);
  }

  #passOn(message) {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.sent === null || !belongs(message, subscription.sent)) continue;
      if (subscription.onMessage(message) === false) {
        this.#end(subscription);
        this.#begin(subscription);
        this.#judge();
      } else if (!subscription.ready && subscription.isReady?.(message)) {
        subscription.ready = true;
      }
    }
  }

  #begin(subscription) {
    subscription.sent = subscription.fields();
    subscription.ready = false;
    this.#ask({ op: "subscribe", ...subscription.sent }, (answer) => {
      if (this.#subscriptions.get(subscription.name) !== subscription) return;
      const goesOn = subscription.isReady === null || subscription.sent?.after !== undefined; // no snapshot comes
      if (answer.type === "subscribed") subscription.ready ||= goesOn;
      else this.#refused(subscription, answer.problem);
      this.#judge();
    });
  }

  #refused(subscription, problem) {
    if (problem.code === "already_subscribed") return;
    if (problem.status === 401 || problem.status === 403) this.#listeners.onKeyProblem(problem);
    if (subscription.onProblem(problem)) this.#begin(subscription);
    else subscription.ready = true; // nothing will come of it: the rest is no less live
  }

  #end(subscription) {
    if (subscription.sent === null) return;
    const { after, after_index: _, ...same } = subscription.sent;
    subscription.sent = null;
    this.#ask({ op: "unsubscribe", ...same }, () => {});
  }

  #authenticated(answer) {
    this.#isRefused = answer.type !== "authenticated";
    if (this.#isRefused) {
      this.#listeners.onKeyProblem(answer.problem);
      return;
    }
    this.#wasGood = true;
    this.#signings = 0;
    this.#listeners.onAuthenticated(answer);
  }

  /** If it was not for the key: our clock is wrong, or it is behind and the broadcaster has just been started. */
  #signAgain(time) {
    this.#isRefused = false;
    if (!this.key?.signs) return;
    const wasWrong = this.key.learnTime(time, this.key.now);
    if (wasWrong || (this.#wasGood && this.#signings++ < SIGNINGS)) this.#connect();
  }

  #ask(request, onAnswer) {
    const id = this.#nextId++;
    this.#requests.set(id, onAnswer);
    this.#socket.send(JSON.stringify({ id, ...request }));
  }

  #check() {
    // it may be half open for ever: nobody tells
    if (this.#socket !== null && this.silentFor > DEAD_MS) this.#connect();
    this.#judge();
  }

  #judge() {
    const state = this.#judged();
    if (state === this.state) return;
    this.state = state;
    this.#listeners.onState(state);
  }

  #judged() {
    if (!this.#isOpen) return "offline";
    if (this.silentFor > STALE_MS) return "stale";
    for (const subscription of this.#subscriptions.values()) if (!subscription.ready) return "resyncing";
    return "live";
  }
}

/** Messages of a symbol that was left may still be on their way. */
function belongs(message, sent) {
  if (message.channel !== sent.channel) return false;
  if (message.interval !== undefined && message.interval !== sent.interval) return false;
  const symbol = message.symbol ?? message.trade?.symbol;
  return sent.symbol === undefined || sent.channel === "orders" || symbol === sent.symbol;
}
