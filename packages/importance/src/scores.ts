/** What was measured of a block, and its confidence interval. */
export interface BlockScore {
  readonly block: number;
  /**
   * Angular: distance between the states entering and leaving it. Removal, insertion: how much worse the model does. The
   * larger these, the more the block matters. Gate: ∂loss/∂α; the larger its magnitude.
   */
  readonly value: number;
  /** Ends of the interval; null where there was one sample only. */
  readonly low: number | null;
  readonly high: number | null;
}

/** The run of n consecutive blocks whose removal changes the stream least. */
export interface BlockRun {
  readonly n: number;
  /** The first block of the run: blocks `start` … `start + n − 1` go. */
  readonly start: number;
  readonly value: number;
  /** Ends of the interval of this run's distance; null where there was one sample only. */
  readonly low: number | null;
  readonly high: number | null;
}

/** The model that was measured. */
export interface MeasuredModel {
  readonly family: "llama" | "mistral";
  readonly blocks: number;
  readonly hiddenSize: number;
}

/** Angular distances between the residual states of a model, as in `scores.json`. Plain JSON data. */
export interface AngularScores {
  readonly version: 1;
  readonly metric: "angular";
  readonly model: MeasuredModel;
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
  /** Ends of the intervals of `distances`, like them; null where there was one sample only. */
  readonly low: readonly (readonly number[])[] | null;
  readonly high: readonly (readonly number[])[] | null;
  /** Per block, n = 1. */
  readonly blocks: readonly BlockScore[];
  /** How the intervals came about: sequences drawn with replacement, quantiles of the resampled means. */
  readonly interval: SampleInterval & { readonly method: "percentile bootstrap over sequences" };
  /** Per n = 1 … L, the run that is best removed. */
  readonly runs: readonly BlockRun[];
  readonly settled: Settled | null;
}

/** How the intervals of drops and gradients came about. */
export interface SampleInterval {
  /** Paired: each resample compares changed and unchanged model on the same samples. */
  readonly method:
    | "percentile bootstrap over sequences"
    | "paired percentile bootstrap over sequences"
    | "paired percentile bootstrap over items";
  readonly confidence: number;
  readonly resamples: number;
  readonly seed: number;
}

/** What a drop is measured in. */
export type DropUnit = "loss" | "likelihood" | "accuracy";

/** A block's drop; on accuracy with McNemar's test against the unchanged model. */
export interface DropScore extends BlockScore {
  readonly mcnemar?: {
    /** Items answered rightly before and wrongly after the change. */
    readonly lost: number;
    /** Items answered wrongly before and rightly after. */
    readonly gained: number;
    /** Two-sided exact p-value of as uneven a split of lost and gained, were the change neutral. */
    readonly p: number;
  };
}

/** How much worse a model does with one block removed, or one more inserted, as in `scores.json`. Plain JSON data. */
export interface DropScores {
  readonly version: 1;
  readonly metric: "removal" | "insertion";
  /** Weights of the inserted block: those of the block before it, or the mean with the next. Null for removal. */
  readonly init: "copy" | "average" | null;
  readonly model: MeasuredModel;
  /**
   * loss: mean negative log-likelihood per token, in nats. likelihood: the same of the right choice per UTF-8 byte.
   * accuracy: share of items whose right choice has the largest likelihood per byte.
   */
  readonly unit: DropUnit;
  /** Of the unchanged model: its loss, its negative log-likelihood, or its accuracy. */
  readonly base: number;
  /** Ends of its interval; null where there was one sample only. */
  readonly baseLow: number | null;
  readonly baseHigh: number | null;
  /** Sequences or items measured. */
  readonly samples: number;
  /** Tokens scored. */
  readonly tokens: number;
  /**
   * Per block removed, or per block after which one was inserted (no average after the last): how much worse the model
   * does. Positive is worse, in every unit: loss that rises, likelihood and accuracy that fall.
   */
  readonly blocks: readonly DropScore[];
  readonly interval: SampleInterval;
  readonly settled: Settled | null;
}

/** Where measuring was to stop once the ranking of the blocks was settled: what was asked, and whether it came to that. */
export interface Settled {
  readonly level: number;
  /** Decided is which blocks are the `least` with the smallest scores; null: the order of all. */
  readonly least: number | null;
  readonly decided: boolean;
}

/** ∂loss/∂α of a gate α on each block's contribution, at α = 1, as in `scores.json`. Plain JSON data. */
export interface GateScores {
  readonly version: 1;
  readonly metric: "gate";
  readonly model: MeasuredModel;
  /** The model's loss in nats per token. */
  readonly base: number;
  /** Ends of its interval; null where there was one sample only. */
  readonly baseLow: number | null;
  readonly baseHigh: number | null;
  readonly samples: number;
  /** Tokens scored. */
  readonly tokens: number;
  /** Per block, nats per token; the farther from 0, the more the block matters. */
  readonly blocks: readonly BlockScore[];
  readonly interval: SampleInterval;
  readonly settled: Settled | null;
}

/** What `scores.json` may hold. */
export type Scores = AngularScores | DropScores | GateScores;

/** Blocks from the least important to the most: by distance, by drop, by magnitude of the gradient. Among equals the first. */
export function leastImportant({ metric, blocks }: Scores): number[] {
  const weight = metric === "gate" ? Math.abs : Number;
  return blocks.toSorted((a, b) => weight(a.value) - weight(b.value)).map(({ block }) => block);
}

/** l*(n) = argmin_l d(x_l, x_{l+n}) for n = 1 … L (Gromov et al., arXiv:2403.17887); among equals the first. */
export function bestRuns({ distances, low, high }: Pick<AngularScores, "distances" | "low" | "high">): BlockRun[] {
  const L = distances.length - 1;
  return Array.from({ length: L }, (_, i) => {
    const n = i + 1;
    let start = 0;
    for (let l = 1; l + n <= L; l++) if (distances[l]![l + n]! < distances[start]![start + n]!) start = l;
    const [from, to] = [low?.[start]?.[start + n] ?? null, high?.[start]?.[start + n] ?? null];
    return { n, start, value: distances[start]![start + n]!, low: from, high: to };
  });
}
