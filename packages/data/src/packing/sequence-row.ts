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
  /** Writes the n-th sequence of all epochs; the number of its real tokens. With `epochs`, what comes after them is padding. */
  writeSequence(n: number, row: SequenceRow, epochs?: number): number;
}
