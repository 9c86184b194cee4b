import { Heap } from "./heap.js";

/** One different word of the training text as token ids, and how often it occurs. */
export interface Word {
  ids: number[];
  readonly count: number;
}

/** `left` and `right`, wherever adjacent, become `id`. */
export interface Merge {
  readonly left: number;
  readonly right: number;
  readonly id: number;
}

/** A pair as one number, ordered by left id, then right id. Ids stay far below 2^26. */
const RIGHT = 2 ** 26;

/**
 * Byte-pair encoding (Sennrich, Haddow & Birch 2016, algorithm 1): again and again the most frequent adjacent pair becomes
 * one token. A pair's count is the number of its adjacent occurrences in all words ("aaa" holds "aa" twice); among equal
 * counts the pair with the smaller left id, then the smaller right id, wins. Within a word, merging runs from left to right.
 * These are the rules of the BpeTrainer of Hugging Face's `tokenizers`.
 *
 * @param wantsMore asked before each merge
 * @param idOfMerge the token for a pair: a new id, or that of an equal token made before from another pair
 * @returns merges in order; the last one is reached early when no pair occurs `minFrequency` times any more. `words` are rewritten.
 */
export function learnMerges(
  words: Word[],
  wantsMore: () => boolean,
  minFrequency: number,
  idOfMerge: (left: number, right: number) => number,
): Merge[] {
  const pairs = new PairCounts(words);
  const merges: Merge[] = [];
  while (wantsMore()) {
    const best = pairs.popMostFrequent(minFrequency);
    if (best === undefined) break;
    const left = Math.floor(best / RIGHT);
    const right = best % RIGHT;
    const merge = { left, right, id: idOfMerge(left, right) };
    pairs.apply(merge, best);
    merges.push(merge);
  }
  return merges;
}

interface Candidate {
  readonly pair: number;
  readonly count: number;
}

/** Counts of all adjacent pairs, kept current while words are rewritten. */
class PairCounts {
  readonly #words: Word[];
  readonly #counts = new Map<number, number>();
  /** Words that hold a pair, or once did. */
  readonly #holders = new Map<number, Set<number>>();
  /** May hold outdated counts, but for every pair one entry that is at least its count. */
  readonly #heap = new Heap<Candidate>((a, b) => a.count > b.count || (a.count === b.count && a.pair < b.pair));

  constructor(words: Word[]) {
    this.#words = words;
    words.forEach((word, index) => {
      for (const pair of pairsOf(word.ids)) this.#add(pair, word.count, index);
    });
    for (const [pair, count] of this.#counts) this.#heap.push({ pair, count });
  }

  popMostFrequent(minFrequency: number): number | undefined {
    for (let top = this.#heap.pop(); top !== undefined; top = this.#heap.pop()) {
      const count = this.#counts.get(top.pair) ?? 0;
      if (count === top.count) return count >= Math.max(1, minFrequency) ? top.pair : undefined;
      if (count > 0) this.#heap.push({ pair: top.pair, count });
    }
    return undefined;
  }

  apply(merge: Merge, pair: number): void {
    const before = new Map<number, number>();
    const add = (changed: number, count: number, index: number): void => {
      if (!before.has(changed)) before.set(changed, this.#counts.get(changed) ?? 0);
      this.#add(changed, count, index);
    };
    for (const index of this.#holders.get(pair) ?? []) {
      const word = this.#words[index]!;
      const ids = mergeWord(word.ids, merge);
      if (ids.length === word.ids.length) continue;
      for (const old of pairsOf(word.ids)) add(old, -word.count, index);
      for (const fresh of pairsOf(ids)) add(fresh, word.count, index);
      word.ids = ids;
    }
    this.#holders.delete(pair);
    for (const [changed, old] of before) {
      const count = this.#counts.get(changed)!;
      if (count > old) this.#heap.push({ pair: changed, count });
      if (count === 0) this.#counts.delete(changed);
    }
  }

  #add(pair: number, count: number, word: number): void {
    this.#counts.set(pair, (this.#counts.get(pair) ?? 0) + count);
    if (count < 0) return;
    const holders = this.#holders.get(pair);
    if (holders === undefined) this.#holders.set(pair, new Set([word]));
    else holders.add(word);
  }
}

function* pairsOf(ids: readonly number[]): Iterable<number> {
  for (let i = 1; i < ids.length; i++) yield ids[i - 1]! * RIGHT + ids[i]!;
}

function mergeWord(ids: readonly number[], { left, right, id }: Merge): number[] {
  const merged: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) {
      merged.push(id);
      i++;
    } else merged.push(ids[i]!);
  }
  return merged;
}
