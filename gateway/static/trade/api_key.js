// The visitor's API key, and how requests show it: signed where the browser can do that, so that the secret never leaves
// the tab; else the key itself is sent. docs/access.md says what is signed. Without a page.

const FORM = /^pt_([0-9a-f]{12})_([0-9a-f]{64})$/;
const DATE_STEP_MS = 2_000; // the header Date has whole seconds, and is made once a second
const encoder = new TextEncoder();

export class ApiKey {
  /** Null if the text is not a whole key. */
  static parse(text, options) {
    const found = FORM.exec(text);
    return found === null ? null : new ApiKey(text, found[1], found[2], options);
  }

  /** `subtle` is the browser's, which it has over TLS and on localhost only; `now` in milliseconds since 1970. */
  constructor(text, id, secret, { subtle = globalThis.crypto?.subtle ?? null, now = () => Date.now() } = {}) {
    this.text = text;
    this.id = id;
    this.#subtle = subtle;
    this.#now = now;
    this.#signingKey = subtle === null ? null : importKey(subtle, secret);
  }

  #subtle;
  #now;
  #signingKey;
  #ahead = 0; // the exchange's clock of ours, in milliseconds
  #lastTimestamp = 0;

  get signs() {
    return this.#signingKey !== null;
  }

  /** For a request of REST; `path` with its query. */
  async headers(method, path, body = "") {
    if (!this.signs) return { Authorization: `Bearer ${this.text}` };
    const { pathname, search } = new URL(path, "file:///"); // written as the browser is going to send it
    const { timestamp, signature } = await this.#sign(method, pathname + search, body);
    return { "Pricetime-Key": `pt_${this.id}`, "Pricetime-Timestamp": timestamp, "Pricetime-Signature": signature };
  }

  /** For `auth` on the WebSocket. */
  async fields() {
    if (!this.signs) return { key: this.text };
    return { key_id: `pt_${this.id}`, ...(await this.#sign("GET", "/ws", "")) };
  }

  /**
   * The exchange's time, as an answer has it that has just come, and `now` of when it was asked for. Signatures are good
   * for seconds only: where the clocks cannot agree, ours is put right. Whether it had to be.
   */
  learnTime(date, askedAt) {
    const time = Date.parse(date);
    if (Number.isNaN(time)) return false;
    const [least, most] = [time - this.now, time + DATE_STEP_MS - askedAt];
    if (this.#ahead >= least && this.#ahead <= most) return false;
    this.#ahead = Math.round((least + most) / 2);
    return true;
  }

  get now() {
    return this.#now();
  }

  async #sign(method, target, body) {
    // a signature is good once: no two with the same timestamp
    this.#lastTimestamp = Math.max(this.#lastTimestamp + 1, Math.round(this.#now() + this.#ahead));
    const timestamp = String(this.#lastTimestamp);
    const signed = encoder.encode(`${timestamp}\n${method}\n${target}\n${body}`);
    const signature = await this.#subtle.sign("HMAC", await this.#signingKey, signed);
    return { timestamp, signature: hexadecimal(signature) };
  }
}

/** Of the secret's hash as text, which is what the exchange keeps. What comes out cannot be read back by anybody. */
async function importKey(subtle, secret) {
  const hash = hexadecimal(await subtle.digest("SHA-256", encoder.encode(secret)));
  return subtle.importKey("raw", encoder.encode(hash), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

function hexadecimal(buffer) {
  return Array.from(new Uint8Array(buffer), (each) => each.toString(16).padStart(2, "0")).join("");
}
