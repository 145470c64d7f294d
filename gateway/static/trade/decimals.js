// Decimals at the edges, whole ticks and lots inside. What is sent to the exchange never passes through a float: a price
// is read into whole ticks (BigInt) and written from them again.

const PLAIN = /^(\d+)(?:\.(\d*))?$|^\.(\d+)$/;

const LETTERS = ["", "K", "M", "B", "T"];

/** The text is not a decimal number. */
export class NotDecimal extends Error {}

/** The number is not a whole multiple of the step. */
export class OffStep extends Error {}

/** The smallest step of a price, quantity or notional: `unit` / 10**`decimals`. */
export class Step {
  constructor(unit, decimals) {
    this.unit = unit;
    this.decimals = decimals;
    this.scale = 10 ** decimals;
  }

  /** From a plain decimal such as "0.05". */
  static of(size) {
    const [whole, fraction = ""] = size.split(".");
    const kept = fraction.replace(/0+$/, "");
    return new Step(BigInt(whole + kept), kept.length);
  }

  /** The step of price times quantity. */
  times(other) {
    return new Step(this.unit * other.unit, this.decimals + other.decimals);
  }

  /** How many steps the text is. Throws NotDecimal or OffStep. */
  parse(text) {
    const scaled = this.#scaled(text);
    if (scaled === null || scaled % this.unit !== 0n) throw new OffStep(text);
    return scaled / this.unit;
  }

  /** The whole steps just below and above the text, lowest first; one if it is a whole number of steps. */
  nearest(text) {
    const [whole, fraction] = parts(text);
    const scaled = BigInt(whole + fraction.slice(0, this.decimals).padEnd(this.decimals, "0"));
    const below = scaled / this.unit;
    const exact = scaled % this.unit === 0n && /^0*$/.test(fraction.slice(this.decimals));
    return exact ? [below] : [below, below + 1n];
  }

  /** As the exchange writes it: with all decimals of the step. */
  format(steps) {
    const scaled = BigInt(steps) * this.unit;
    if (this.decimals === 0) return scaled.toString();
    const digits = (scaled < 0n ? -scaled : scaled).toString().padStart(this.decimals + 1, "0");
    const sign = scaled < 0n ? "-" : "";
    return `${sign}${digits.slice(0, -this.decimals)}.${digits.slice(-this.decimals)}`;
  }

  /** For a drawing, where a float will do. */
  approximate(steps) {
    return (Number(steps) * Number(this.unit)) / this.scale;
  }

  /** Null if the text has more decimals than the step. */
  #scaled(text) {
    const [whole, fraction] = parts(text);
    const kept = fraction.replace(/0+$/, "");
    if (kept.length > this.decimals) return null;
    return BigInt(whole + kept.padEnd(this.decimals, "0"));
  }
}

function parts(text) {
  const found = PLAIN.exec(text.trim());
  if (found === null || text.length > 40) throw new NotDecimal(text);
  return [found[1] ?? "0", found[2] ?? found[3] ?? ""];
}

/** "4.50000000" as "4.5": for people, where a column needs no fixed width. */
export function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Cut, not rounded, to so many decimals; what is there but too small to show is "<0.01". */
export function shortened(text, decimals) {
  const point = text.indexOf(".");
  if (point < 0 || text.length - point - 1 <= decimals) return text;
  const cut = decimals === 0 ? text.slice(0, point) : text.slice(0, point + 1 + decimals);
  if (/[1-9]/.test(cut) || !/[1-9]/.test(text)) return cut;
  return `<${"0.".padEnd(decimals + 1, "0")}1`;
}

/** In so many characters at most, for a column: decimals are cut, then thousands; "12345678.9" as "12.345M". */
export function fitted(text, decimals, characters) {
  const cut = shortened(text, decimals);
  if (cut.length <= characters) return cut;
  const [whole] = text.split(".");
  if (whole.length <= characters) return shortened(text, Math.max(0, characters - whole.length - 1));
  const power = Math.min(LETTERS.length - 1, Math.floor((whole.length - 1) / 3));
  const before = whole.length - 3 * power;
  const after = whole.slice(before, Math.max(before, characters - 2));
  return `${whole.slice(0, before)}${after && "."}${after}${LETTERS[power]}`;
}

/** Thousands apart, for reading only: "62145.50" as "62,145.50". */
export function grouped(text) {
  const [whole, fraction] = text.split(".");
  const apart = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? apart : `${apart}.${fraction}`;
}
