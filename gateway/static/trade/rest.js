// REST, as a page needs it: JSON in and out, the key where it is needed, and commands that are repeated until there is
// an answer. An order carries a client_order_id, so repeating it can do no harm.

const PATIENCE_MS = 15_000;
const PAUSE_MS = 300;
/** The signature was not taken, and another one of the same request may be: nothing was done. */
const SIGN_AGAIN = new Set(["timestamp_outside_window", "signature_repeated"]);

/** The exchange said no, or could not be asked. `code` is that of the problem; "unreachable" is our own. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `The exchange answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "unknown";
    this.field = problem.field ?? null;
  }
}

export class Rest {
  /** `fetch` and `sleep` are the browser's, unless a test has others; `now` in milliseconds. */
  constructor({
    fetch = globalThis.fetch.bind(globalThis),
    sleep = (ms) => new Promise((done) => setTimeout(done, ms)),
    now = () => performance.now(),
  } = {}) {
    /** An ApiKey, or null. */
    this.key = null;
    this.#fetch = fetch;
    this.#sleep = sleep;
    this.#now = now;
  }

  #fetch;
  #sleep;
  #now;

  /** Public market data: without the key, as a bad one would be refused even there. Raises Refusal. */
  async read(path) {
    return this.#ask("GET", path, undefined, false);
  }

  /** What belongs to an account. Raises Refusal. */
  async readOwn(path) {
    const signAgain = (refusal) => {
      if (!SIGN_AGAIN.has(refusal.code)) throw refusal;
      return this.#ask("GET", path, undefined, true);
    };
    return this.#ask("GET", path, undefined, true).catch(signAgain);
  }

  /**
   * A command, again and again until there is an answer, for a while. Raises Refusal.
   * Returns {content, milliseconds}: how long the request that was answered took. `onWait` is told of each repetition.
   */
  async command(method, path, body, onWait = () => {}) {
    const until = this.#now() + PATIENCE_MS;
    let isUnknown = false;
    for (;;) {
      const began = this.#now();
      const refusal = await this.#tried(method, path, body, began);
      if (!(refusal instanceof Refusal)) return refusal;
      if (!mayRepeat(refusal)) throw refusal;
      // 503, and 401 with a signature, say that nothing was done; but of this attempt only
      isUnknown ||= refusal.status !== 503 && refusal.status !== 401;
      if (this.#now() + PAUSE_MS > until) throw isUnknown ? unknownResult() : refusal;
      onWait(refusal);
      await this.#sleep(refusal.retryAfterMs ?? PAUSE_MS);
    }
  }

  async #tried(method, path, body, began) {
    try {
      const content = await this.#ask(method, path, body, true);
      return { content, milliseconds: this.#now() - began };
    } catch (error) {
      if (error instanceof Refusal) return error;
      throw error;
    }
  }

  async #ask(method, path, body, own) {
    const [key, text] = [own ? this.key : null, body === undefined ? undefined : JSON.stringify(body)];
    const headers = text === undefined ? {} : { "Content-Type": "application/json" };
    const askedAt = key?.now;
    if (key) Object.assign(headers, await key.headers(method, path, text));
    const { answer, content } = await this.#fetched(path, { method, headers, body: text, cache: "no-store" });
    key?.learnTime(answer.headers.get("Date"), askedAt);
    if (answer.ok && content !== undefined) return content;
    const refusal = new Refusal(answer.status, content ?? {});
    const seconds = Number(answer.headers.get("Retry-After"));
    if (seconds > 0) refusal.retryAfterMs = seconds * 1000;
    throw refusal;
  }

  async #fetched(path, options) {
    try {
      const answer = await this.#fetch(path, options);
      const text = await answer.text();
      return { answer, content: text === "" ? null : parsed(text) };
    } catch {
      throw new Refusal(0, { code: "unreachable", detail: "The exchange cannot be reached." });
    }
  }
}

function unknownResult() {
  const detail = "There was no answer, so it is not known whether this was done. The open orders tell, once the exchange is back.";
  return new Refusal(0, { code: "result_unknown", detail });
}

/** What a proxy answers in place of the exchange may be a page; undefined for that. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Nothing was done, or it is not known; refusals of the exchange's rules stand. */
function mayRepeat({ status, code }) {
  return status === 0 || status === 502 || status === 503 || status === 504 || SIGN_AGAIN.has(code);
}

/** A name for an order that nobody else uses. `crypto.randomUUID` is only there over TLS and on localhost. */
export function newClientOrderId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `web-${Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("")}`;
}
