import type { PackingSettings } from "./settings.js";
import { idOf } from "./token-source.js";

/** Target of a position that is not scored. */
export const NOT_SCORED = -100;
/** Segment of padding. */
export const PADDING = -1;

/** One row of a batch, each [T]; what a packing fills. It comes as padding. */
export interface SequenceRow {
  readonly inputIds: Int32Array;
  readonly targets: Int32Array;
  readonly positions: Int32Array;
  readonly segments: Int32Array;
}

/** Which tokens stand in which sequence. A function of corpus, settings and number alone, which makes a position resumable. */
export interface Packing {
  /** Sequences in one pass over the corpus; a fraction where passes follow without a gap. */
  readonly sequencesPerEpoch: number;
  /** Tokens in one pass, boundary tokens included. */
  readonly tokensPerEpoch: number;
  /** Where documents are kept whole: those that lost their end, and those left out because nothing of them was left to score. */
  readonly truncated?: number;
  readonly leftOut?: number;
  /** Writes the n-th sequence of all epochs; the number of its real tokens. With `epochs`, what comes after them is padding. */
  writeSequence(n: number, row: SequenceRow, epochs?: number): number;
}

/**
 * Fills a row with a run of a text. `tokens` holds one more than the row, which is the last one's target, or fewer: the first `left` of
 * them are there. `documentStarts`: where among them documents begin. Returns how many positions are filled.
 */
export function fillRow(
  row: SequenceRow,
  tokens: Int32Array,
  left: number,
  documentStarts: ReadonlySet<number>,
  mode: PackingSettings["mode"],
): number {
  const count = Math.min(left, row.inputIds.length);
  let segment = 0;
  let position = 0;
  for (let t = 0; t < count; t++) {
    row.inputIds[t] = idOf(tokens[t]!);
    row.segments[t] = segment;
    row.positions[t] = position++;
    const crosses = mode === "documents" && documentStarts.has(t + 1);
    const next = tokens[t + 1]!;
    row.targets[t] = t + 1 === left || crosses || next < 0 ? NOT_SCORED : next;
    if (crosses) {
      segment++;
      position = 0;
    }
  }
  return count;
}
