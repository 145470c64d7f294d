// The book of one symbol: snapshot and differences folded, and grouped for the ladder. Pure.
//
// Prices are whole ticks as numbers, which are exact below 2**53 (the exchange takes at most 10**15); quantities are
// whole lots as BigInt, because many of them are added up.

/** One side: levels best first, in two arrays side by side. */
class BookSide {
  constructor(isBid) {
    this.isBid = isBid;
    this.prices = [];
    this.lots = [];
  }

  get length() {
    return this.prices.length;
  }

  clear() {
    this.prices.length = 0;
    this.lots.length = 0;
  }

  /** The new quantity of a level; none removes it. */
  set(ticks, lots) {
    const at = this.#find(ticks);
    const known = this.prices[at] === ticks;
    if (lots === 0n) {
      if (known) {
        this.prices.splice(at, 1);
        this.lots.splice(at, 1);
      }
    } else if (known) {
      this.lots[at] = lots;
    } else {
      this.prices.splice(at, 0, ticks);
      this.lots.splice(at, 0, lots);
    }
  }

  /** Where the price is, or would be. Most changes are near the best price, but a binary search costs little anywhere. */
  #find(ticks) {
    let low = 0;
    let high = this.prices.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const isBetter = this.isBid ? this.prices[middle] > ticks : this.prices[middle] < ticks;
      if (isBetter) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class Book {
  /** `levels`: how many of each side are asked for; beyond them nothing is known. */
  constructor(tick, lot, levels) {
    this.tick = tick;
    this.lot = lot;
    this.levels = levels;
    this.bids = new BookSide(true);
    this.asks = new BookSide(false);
    this.lastSequence = null;
  }

  /** A snapshot replaces everything. */
  reset(message) {
    this.bids.clear();
    this.asks.clear();
    this.#fold(message);
  }

  /** Whether the change follows what is here; if not, something was lost, and nothing was done. */
  apply(message) {
    if (this.lastSequence === null || message.first_sequence !== this.lastSequence + 1) return false;
    this.#fold(message);
    return true;
  }

  #fold(message) {
    for (const side of ["bids", "asks"]) {
      for (const [price, quantity] of message[side]) {
        this[side].set(Number(this.tick.parse(price)), this.lot.parse(quantity));
      }
    }
    this.lastSequence = message.last_sequence;
  }

  side(name) {
    return name === "bid" ? this.bids : this.asks;
  }

  /**
   * The best `count` rows of a side, levels put together `step` ticks at a time: bids down to the lower edge, asks up to
   * the upper, so that no row promises a better price than it has. `total` adds up from the best.
   */
  rows(name, step, count) {
    const side = this.side(name);
    const rows = [];
    let total = 0n;
    for (let at = 0; at < side.length; at++) {
      const ticks = edge(side.prices[at], step, side.isBid);
      const last = rows[rows.length - 1];
      if (last !== undefined && last.ticks === ticks) {
        last.lots += side.lots[at];
        total += side.lots[at];
        last.total = total;
        continue;
      }
      if (rows.length === count) return rows;
      total += side.lots[at];
      rows.push({ ticks, lots: side.lots[at], total });
    }
    // the last group may go on beyond the levels that we have: better not shown than shown too small
    if (step > 1 && side.length >= this.levels && rows.length > 1) rows.pop();
    return rows;
  }

  /** What `lots` cost (or bring), level after level, in ticks times lots; null if the book has not so many. */
  costOf(takerSide, lots) {
    const side = takerSide === "buy" ? this.asks : this.bids;
    let left = lots;
    let cost = 0n;
    for (let at = 0; at < side.length && left > 0n; at++) {
      const taken = left < side.lots[at] ? left : side.lots[at];
      cost += BigInt(side.prices[at]) * taken;
      left -= taken;
    }
    return left > 0n ? null : cost;
  }
}

function edge(ticks, step, isBid) {
  const rest = ticks % step;
  if (rest === 0) return ticks;
  return isBid ? ticks - rest : ticks - rest + step;
}

/** The groupings to choose from, in ticks, for prices around `ticks`: 1, 10, 50, 100 and so on, up to a fiftieth of it. */
export function groupings(ticks) {
  const found = [1];
  for (let step = 10; step <= ticks / 50; step *= 10) found.push(step, step * 5);
  return found;
}
