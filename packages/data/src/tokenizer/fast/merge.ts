import { NO_RANK, type PairTable } from "./pairs.js";

/** Words of more symbols than this are merged with a heap: n·log n instead of n². */
const LONG_WORD = 64;
/** A heap entry is rank · 2^31 + place: smallest rank first, then leftmost. Exact, since ranks stay below 2^22. */
const PLACES = 2 ** 31;

/**
 * Byte-pair encoding of one word, in place: of all adjacent pairs the one with the smallest rank is merged, the leftmost first,
 * until none has a rank (Sennrich, Haddow & Birch 2016, with the order that Python `tokenizers` uses).
 * @param ids [count …] the symbols of the word; afterwards its tokens
 * @returns the number of tokens
 */
export function mergeWord(ids: Int32Array, count: number, pairs: PairTable): number {
  return count > LONG_WORD ? mergeLong(ids, count, pairs) : mergeShort(ids, count, pairs);
}

/** Of the pair that begins at each place of a short word. */
const shortRanks = new Int32Array(LONG_WORD);

function mergeShort(ids: Int32Array, count: number, pairs: PairTable): number {
  const ranks = shortRanks;
  let size = count;
  for (let i = 0; i + 1 < size; i++) ranks[i] = pairs.rank(ids[i]!, ids[i + 1]!);
  while (size > 1) {
    let best = NO_RANK;
    let at = 0;
    for (let i = 0; i + 1 < size; i++) {
      if (ranks[i]! < best) {
        best = ranks[i]!;
        at = i;
      }
    }
    if (best === NO_RANK) break;
    ids[at] = pairs.merged(ids[at]!, ids[at + 1]!);
    size--;
    for (let i = at + 1; i < size; i++) {
      ids[i] = ids[i + 1]!;
      ranks[i] = ranks[i + 1]!;
    }
    if (at > 0) ranks[at - 1] = pairs.rank(ids[at - 1]!, ids[at]!);
    if (at + 1 < size) ranks[at] = pairs.rank(ids[at]!, ids[at + 1]!);
  }
  return size;
}

function mergeLong(ids: Int32Array, count: number, pairs: PairTable): number {
  const next = Int32Array.from({ length: count }, (_, i) => i + 1);
  const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
  const ranks = new Int32Array(count).fill(NO_RANK);
  const heap: number[] = [];
  const renew = (place: number): void => {
    const right = next[place]!;
    const rank = right < count ? pairs.rank(ids[place]!, ids[right]!) : NO_RANK;
    ranks[place] = rank;
    if (rank !== NO_RANK) push(heap, rank * PLACES + place);
  };
  for (let i = 0; i < count; i++) renew(i);
  while (heap.length > 0) {
    const top = pop(heap);
    const place = top % PLACES;
    // An entry is out of date when the pair at its place has changed since.
    if (ranks[place] !== Math.floor(top / PLACES)) continue;
    const right = next[place]!;
    ids[place] = pairs.merged(ids[place]!, ids[right]!);
    ranks[right] = NO_RANK;
    next[place] = next[right]!;
    if (next[place] < count) previous[next[place]] = place;
    renew(place);
    if (previous[place]! >= 0) renew(previous[place]!);
  }
  let size = 0;
  for (let place = 0; place < count; place = next[place]!) ids[size++] = ids[place]!;
  return size;
}

function push(heap: number[], item: number): void {
  let at = heap.length;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]! <= item) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = item;
}

function pop(heap: number[]): number {
  const top = heap[0]!;
  const last = heap.pop()!;
  const size = heap.length;
  if (size === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= last) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
