/** So many lengths are tried for a pair that fills a sequence exactly. */
const MOST_TRIED = 256;

/**
 * Items into bins of equal capacity with as little room left as can be found quickly. Each bin begins with the longest item left;
 * then as long as it has room: one item that fills it exactly, else two that do, else the longest that fits. Unlike best-fit
 * decreasing this leaves no gaps at the long items, where lengths are of a kind (a few tens to hundreds of tokens).
 * @param lengths each 1 … capacity
 * @returns bins of indices; every index once
 */
export function fillSequences(lengths: readonly number[], capacity: number): number[][] {
  const left = new LengthIndex(lengths, capacity);
  const bins: number[][] = [];
  for (let longest = left.longestUpTo(capacity); longest > 0; longest = left.longestUpTo(capacity)) {
    const bin = [left.take(longest)];
    for (let room = capacity - longest; room > 0;) {
      const pair = left.has(room) ? [room] : (pairOf(left, room) ?? [left.longestUpTo(room)]);
      if (pair[0] === 0) break;
      for (const length of pair) {
        bin.push(left.take(length));
        room -= length;
      }
    }
    bins.push(bin);
  }
  return bins;
}

/** Two lengths that are left and add up to `room`, the longer first. */
function pairOf(left: LengthIndex, room: number): number[] | undefined {
  let longer = left.longestUpTo(room - 1);
  for (let tried = 0; tried < MOST_TRIED && 2 * longer >= room; tried++) {
    if (left.has(room - longer, 2 * longer === room ? 2 : 1)) return [longer, room - longer];
    longer = left.longestUpTo(longer - 1);
  }
  return undefined;
}

/** Items by length, and a tree over the lengths of which any is left: node i has the children 2i and 2i + 1. */
class LengthIndex {
  readonly #items = new Map<number, number[]>();
  readonly #leaves: number;
  readonly #counts: Uint32Array;

  constructor(lengths: readonly number[], capacity: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(capacity + 1));
    this.#counts = new Uint32Array(2 * this.#leaves);
    // Backwards, so that the first of equal ones is taken first.
    for (let i = lengths.length - 1; i >= 0; i--) {
      const length = lengths[i]!;
      const others = this.#items.get(length);
      if (others === undefined) this.#items.set(length, [i]);
      else others.push(i);
      this.#change(length, 1);
    }
  }

  has(length: number, count = 1): boolean {
    return this.#counts[this.#leaves + length]! >= count;
  }

  take(length: number): number {
    this.#change(length, -1);
    return this.#items.get(length)!.pop()!;
  }

  /** 0 where there is none. */
  longestUpTo(length: number): number {
    if (length <= 0) return 0;
    let node = this.#leaves + length;
    if (this.#counts[node]! > 0) return length;
    while (node > 1 && (node % 2 === 0 || this.#counts[node - 1] === 0)) node >>>= 1;
    if (node <= 1) return 0;
    for (node--; node < this.#leaves;) node = this.#counts[2 * node + 1]! > 0 ? 2 * node + 1 : 2 * node;
    return node - this.#leaves;
  }

  #change(length: number, by: 1 | -1): void {
    for (let node = this.#leaves + length; node > 0; node >>>= 1) this.#counts[node] = this.#counts[node]! + by;
  }
}
