/**
 * PCG32 (PCG-XSH-RR 64/32; M. E. O'Neill, "PCG: A family of simple fast space-efficient statistically good algorithms for
 * random number generation", 2014): 64 bits of state, 2^63 streams that never coincide. State and increment are held as
 * two unsigned halves.
 */
export class Pcg32 {
  #high = 0;
  #low = 0;
  readonly #incrementHigh: number;
  readonly #incrementLow: number;

  /** @param seed, stream non-negative integers below 2^53 */
  constructor(seed: number, stream: number) {
    const increment = (BigInt(stream) << 1n) | 1n;
    this.#incrementHigh = Number((increment >> 32n) & 0xffffffffn);
    this.#incrementLow = Number(increment & 0xffffffffn);
    this.#step();
    this.#add(Math.floor(seed / 2 ** 32), seed >>> 0);
    this.#step();
  }

  /** Uniform in 0 … 2^32 - 1. */
  next(): number {
    const high = this.#high;
    const low = this.#low;
    this.#step();
    // xorshifted = ((state >> 18) ^ state) >> 27, its lower 32 bits; rotated right by the top five bits of the state.
    const mixedHigh = (high ^ (high >>> 18)) >>> 0;
    const mixedLow = (low ^ ((low >>> 18) | (high << 14))) >>> 0;
    const xorshifted = (mixedLow >>> 27) | (mixedHigh << 5);
    const rotation = high >>> 27;
    return ((xorshifted >>> rotation) | (xorshifted << (-rotation & 31))) >>> 0;
  }

  /** Uniform in 0 … bound - 1, without bias; 1 ≤ bound ≤ 2^32. */
  below(bound: number): number {
    const threshold = 2 ** 32 % bound;
    for (;;) {
      const value = this.next();
      if (value >= threshold) return value % bound;
    }
  }

  /** state = state · 6364136223846793005 + increment, modulo 2^64 */
  #step(): void {
    const multiplierHigh = 0x5851f42d;
    const multiplierLow = 0x4c957f2d;
    const high =
      Math.imul(this.#high, multiplierLow) +
      Math.imul(this.#low, multiplierHigh) +
      highProduct(this.#low, multiplierLow);
    this.#low = Math.imul(this.#low, multiplierLow) >>> 0;
    this.#high = high >>> 0;
    this.#add(this.#incrementHigh, this.#incrementLow);
  }

  #add(high: number, low: number): void {
    const sum = this.#low + low;
    this.#low = sum >>> 0;
    this.#high = (this.#high + high + (sum >= 2 ** 32 ? 1 : 0)) >>> 0;
  }
}

/** Upper 32 bits of the product of two unsigned 32-bit numbers. */
function highProduct(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const cross = a0 * b1 + (middle & 0xffff);
  return a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000);
}

/** Fisher–Yates from the end, in place: every order is equally likely. */
export function shuffle<T extends { length: number; [index: number]: number }>(items: T, random: Pcg32): T {
  for (let left = items.length; left > 1; left--) {
    const chosen = random.below(left);
    const item = items[chosen]!;
    items[chosen] = items[left - 1]!;
    items[left - 1] = item;
  }
  return items;
}
