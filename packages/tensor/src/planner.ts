/** A value that must live in the arena from step `first` (which writes it) to step `last` (which reads it last). */
export interface LiveRange {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

export interface Layout {
  /** Byte offset of each range, in the order given. */
  readonly offsets: readonly number[];
  /** Size of the arena. */
  readonly bytes: number;
}

/** Every offset is a multiple of this: WebGPU's strictest storage-buffer alignment, and enough for any SIMD load. */
export const ALIGNMENT = 256;

export function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/**
 * Gives each range a place such that no two that are alive at the same step overlap. Greedy by size (Pisarchyk & Lee,
 * "Efficient Memory Management for Deep Neural Net Inference", 2020): largest first, each into the smallest gap between
 * the ranges already placed that it lives beside.
 */
export function planMemory(ranges: readonly LiveRange[]): Layout {
  const offsets = Array.from<number>({ length: ranges.length }).fill(0);
  const order = ranges.map((_, i) => i).sort((a, b) => ranges[b]!.bytes - ranges[a]!.bytes || a - b);
  const placed: number[] = []; // sorted by offset
  let total = 0;
  for (const i of order) {
    const range = ranges[i]!;
    const wanted = align(range.bytes);
    let best = -1;
    let bestGap = Infinity;
    let end = 0;
    for (const j of placed) {
      const other = ranges[j]!;
      if (other.last < range.first || other.first > range.last) continue;
      const gap = offsets[j]! - end;
      if (gap >= wanted && gap < bestGap) [best, bestGap] = [end, gap];
      end = Math.max(end, offsets[j]! + align(other.bytes));
    }
    offsets[i] = best >= 0 ? best : end;
    total = Math.max(total, offsets[i] + wanted);
    insertSorted(placed, i, offsets);
  }
  return { offsets, bytes: total };
}

function insertSorted(placed: number[], i: number, offsets: readonly number[]): void {
  let low = 0;
  let high = placed.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (offsets[placed[mid]!]! <= offsets[i]!) low = mid + 1;
    else high = mid;
  }
  placed.splice(low, 0, i);
}
