import { forEachResample } from "./bootstrap.js";
import { ImportanceError } from "./errors.js";

/** Samples at the first look; there are looks at 16, 32, 64, … samples. */
const FIRST_LOOK = 16;

export interface SettleOptions {
  /** Of all sweeps that stop, the share whose ranking may be relied on, e.g. 0.95. */
  readonly level: number;
  /** Decide only which blocks have the `least` smallest means; by default the order of all. */
  readonly least?: number;
}

interface RankingOptions {
  readonly resamples: number;
  readonly seed: number;
  /** Rank by the means' magnitudes, as gates are. */
  readonly magnitude?: boolean;
}

/**
 * Says when the ranking of K means has settled: when it is the same in enough bootstrap resamples of the samples so far. To
 * look again and again would sooner or later find an order that stands by luck, so the error 1 − level is spent on the looks,
 * half of what is left at each (α-spending; Lan and DeMets 1983), and looks come at doubling numbers of samples only.
 */
export class Settling {
  readonly #options: SettleOptions & RankingOptions;
  #look = 0;

  /** `seen` samples were looked at before. */
  constructor(options: SettleOptions & RankingOptions, seen = 0) {
    this.#options = options;
    while (seen >= FIRST_LOOK * 2 ** this.#look) this.#look++;
  }

  /** True once settled; looks when there are enough samples for the next look. Values as of `bootstrapMeans`. */
  decided(sums: () => readonly Float64Array[], counts: readonly number[]): boolean {
    if (counts.length < FIRST_LOOK * 2 ** this.#look) return false;
    while (counts.length >= FIRST_LOOK * 2 ** this.#look) this.#look++;
    const error = (1 - this.#options.level) / 2 ** this.#look;
    return rankingStability(sums(), counts, this.#options) >= 1 - error;
  }
}

/** Share of bootstrap resamples whose ranking of the K means is that of all samples; 0 where two means are equal. */
export function rankingStability(
  sums: readonly Float64Array[],
  counts: readonly number[],
  { resamples, seed, magnitude = false, least }: RankingOptions & { least?: number },
): number {
  const weight = magnitude ? Math.abs : Number;
  const K = sums[0]!.length;
  const totals = Array.from({ length: K }, (_, k) => weight(sums.reduce((total, values) => total + values[k]!, 0)));
  const order = Array.from(totals.keys()).sort((a, b) => totals[a]! - totals[b]!);
  let same = 0;
  forEachResample(sums, counts, { resamples, seed }, (means) => {
    const weights = magnitude ? means.map(Math.abs) : means;
    same += Number(least === undefined ? ascends(weights, order) : splits(weights, order, least));
  });
  return same / resamples;
}

/** @throws ImportanceError for a level or a number of blocks that cannot be meant, where K are ranked */
export function checkSettle({ level, least }: SettleOptions, K: number): void {
  if (!(level > 0 && level < 1)) throw new ImportanceError(`level must be between 0 and 1, got ${level}`);
  if (least !== undefined && !(Number.isInteger(least) && least >= 1 && least <= K - 1)) {
    throw new ImportanceError(`least must be an integer from 1 to ${K - 1}, got ${least}`);
  }
}

function ascends(means: Float64Array, order: readonly number[]): boolean {
  return order.every((k, i) => i === 0 || means[order[i - 1]!]! < means[k]!);
}

/** The first `least` of the order are all smaller than the rest. */
function splits(means: Float64Array, order: readonly number[], least: number): boolean {
  const largest = order.slice(0, least).reduce((most, k) => Math.max(most, means[k]!), -Infinity);
  return order.slice(least).every((k) => means[k]! > largest);
}
