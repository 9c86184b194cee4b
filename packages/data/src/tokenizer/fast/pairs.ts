/** Not a pair of any merge. */
export const NO_RANK = 0x7fffffff;

/**
 * The merges of a BPE model as a hash table with open addressing: a pair of ids to its rank (its place in the list) and to the
 * id that it becomes. Three typed arrays, since a lookup stands in the innermost loop of encoding.
 */
export class PairTable {
  readonly #mask: number;
  /** [slots · 2]: left and right id; left -1 where the slot is free. */
  readonly #pairs: Int32Array;
  readonly #ranks: Int32Array;
  readonly #merged: Int32Array;

  /** @param merges left, right, merged id; of a pair that occurs twice the last counts, as in Python */
  constructor(merges: readonly (readonly [left: number, right: number, merged: number])[]) {
    const slots = 2 ** Math.ceil(Math.log2(2 * merges.length + 2));
    this.#mask = slots - 1;
    this.#pairs = new Int32Array(2 * slots).fill(-1);
    this.#ranks = new Int32Array(slots);
    this.#merged = new Int32Array(slots);
    merges.forEach(([left, right, merged], rank) => {
      const slot = this.#slotOf(left, right);
      this.#pairs[2 * slot] = left;
      this.#pairs[2 * slot + 1] = right;
      this.#ranks[slot] = rank;
      this.#merged[slot] = merged;
    });
  }

  rank(left: number, right: number): number {
    const slot = this.#slotOf(left, right);
    return this.#pairs[2 * slot] === left ? this.#ranks[slot]! : NO_RANK;
  }

  merged(left: number, right: number): number {
    return this.#merged[this.#slotOf(left, right)]!;
  }

  /** Where the pair is, or the free slot where it would be. Half of the slots are free, so the search ends. */
  #slotOf(left: number, right: number): number {
    const pairs = this.#pairs;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca77);
    hash ^= hash >>> 15;
    for (let slot = hash & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const found = pairs[2 * slot]!;
      if (found === -1 || (found === left && pairs[2 * slot + 1] === right)) return slot;
    }
  }
}
