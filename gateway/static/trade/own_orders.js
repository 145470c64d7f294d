// The orders and fills of one account, whichever way they become known: the stream, answers to our own requests, lists.
// Pure.
//
// The same order comes twice, from the stream and in the answer to our request, in either order. What is older than what
// is here is left out; both carry the journal sequence of the order's last change.

const OPEN = new Set(["open", "partially_filled"]);
const CLOSED_KEPT = 200;
const FILLS_KEPT = 100;

export class OwnOrders {
  constructor() {
    this.clear();
  }

  clear() {
    this.orders = new Map();
    this.fills = [];
    this.#fillIds = new Set();
    this.sequence = null;
    this.index = null;
    this.isKnown = false;
    this.#parts = null;
  }

  /** All open orders, in one part or several: what is not among them is open no longer. */
  snapshot(message) {
    this.#parts ??= new Set();
    for (const order of message.orders) {
      this.#parts.add(order.order_id);
      this.told(order);
    }
    this.sequence = message.sequence;
    this.index = null;
    if (message.more) return;
    for (const [id, order] of this.orders) {
      if (OPEN.has(order.status) && !this.#parts.has(id) && order.sequence <= message.sequence) this.orders.delete(id);
    }
    this.#parts = null;
    this.isKnown = true;
  }

  /** One change from the stream. False if it was here before. */
  update(message) {
    if (this.#isKnown(message.sequence, message.index)) return false;
    this.sequence = message.sequence;
    this.index = message.index;
    const known = this.orders.get(message.order.order_id);
    // within one commit the stream goes on from what an answer said of the same sequence
    if (known === undefined || message.order.sequence >= known.sequence) this.#keep(message.order);
    if (message.event === "trade") this.filled(message.order, message.trade);
    return true;
  }

  /** A heartbeat: everything up to this sequence has been seen. */
  reached(sequence) {
    if (this.sequence === null || sequence <= this.sequence) return;
    this.sequence = sequence;
    this.index = null;
  }

  /** An order as an answer or a list has it. */
  told(order) {
    const known = this.orders.get(order.order_id);
    if (known === undefined || order.sequence > known.sequence) this.#keep(order);
  }

  /** One side of a trade; an account that trades with itself has both. */
  filled(order, trade) {
    const key = `${trade.trade_id}/${order.order_id}`;
    if (this.#fillIds.has(key)) return;
    this.#fillIds.add(key);
    const at = this.fills.findIndex((each) => each.trade.trade_id <= trade.trade_id);
    this.fills.splice(at < 0 ? this.fills.length : at, 0, { key, order, trade });
    for (const dropped of this.fills.splice(FILLS_KEPT)) this.#fillIds.delete(dropped.key);
  }

  /** Newest first. */
  open() {
    return [...this.orders.values()]
      .filter((order) => OPEN.has(order.status))
      .sort((one, other) => other.order_id - one.order_id);
  }

  #isKnown(sequence, index) {
    if (this.sequence === null || sequence > this.sequence) return false;
    return sequence < this.sequence || this.index === null || index <= this.index;
  }

  #keep(order) {
    this.orders.delete(order.order_id); // the map's order is that of the last change: the oldest closed ones go first
    this.orders.set(order.order_id, order);
    if (this.orders.size <= CLOSED_KEPT) return;
    const closed = [...this.orders.values()].filter((each) => !OPEN.has(each.status));
    for (const each of closed.slice(0, Math.max(0, closed.length - CLOSED_KEPT))) this.orders.delete(each.order_id);
  }

  #fillIds = new Set();
  #parts = null;
}
