/** A block's distance and its confidence interval. */
export interface BlockScore {
  readonly block: number;
  /** Distance between the states entering and leaving the block; the larger, the more the block does. */
  readonly value: number;
  /** Ends of the interval; null where there was one sequence only. */
  readonly low: number | null;
  readonly high: number | null;
}

/** The run of n consecutive blocks whose removal changes the stream least. */
export interface BlockRun {
  readonly n: number;
  /** The first block of the run: blocks `start` … `start + n − 1` go. */
  readonly start: number;
  readonly value: number;
}

/** Angular distances between the residual states of a model, as in `scores.json`. Plain JSON data. */
export interface AngularScores {
  readonly version: 1;
  readonly metric: "angular";
  readonly model: { readonly family: "llama" | "mistral"; readonly blocks: number; readonly hiddenSize: number };
  /** "pi": angles in units of π, 0 … 1; "radians": 0 … π. */
  readonly unit: "pi" | "radians";
  readonly token: "last" | "mean";
  readonly final: "raw" | "normed";
  /** Sequences measured. */
  readonly samples: number;
  /** Tokens averaged over; with token "last" one per sequence. */
  readonly tokens: number;
  /**
   * [L+1][L+1], symmetric: `distances[l][m]` is the mean distance between states l and m, where state l enters block l
   * and state L leaves the last block. Removing the n blocks from l on costs `distances[l][l + n]`.
   */
  readonly distances: readonly (readonly number[])[];
  /** Per block, n = 1. */
  readonly blocks: readonly BlockScore[];
  /** How the intervals of `blocks` came about: sequences drawn with replacement, quantiles of the resampled means. */
  readonly interval: {
    readonly method: "percentile bootstrap over sequences";
    readonly confidence: number;
    readonly resamples: number;
    readonly seed: number;
  };
  /** Per n = 1 … L, the run that is best removed. */
  readonly runs: readonly BlockRun[];
}

/** l*(n) = argmin_l d(x_l, x_{l+n}) for n = 1 … L (Gromov et al., arXiv:2403.17887); among equals the first. */
export function bestRuns(distances: AngularScores["distances"]): BlockRun[] {
  const L = distances.length - 1;
  return Array.from({ length: L }, (_, i) => {
    const n = i + 1;
    let start = 0;
    for (let l = 1; l + n <= L; l++) if (distances[l]![l + n]! < distances[start]![start + n]!) start = l;
    return { n, start, value: distances[start]![start + n]! };
  });
}
