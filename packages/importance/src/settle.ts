import { forEachResample } from "./bootstrap.js";

/** Samples at the first look; there are looks at 16, 32, 64, … samples. */
const FIRST_LOOK = 16;

export interface SettleOptions {
  /** Of all sweeps that stop, the share whose ranking may be relied on, e.g. 0.95. */
  readonly level: number;
  /** Decide only which blocks have the `least` smallest means; by default the order of all. */
  readonly least?: number;
}

/**
 * Says when the ranking of K means has settled: when it is the same in enough bootstrap resamples of the samples so far. To
 * look again and again would sooner or later find an order that stands by luck, so the error 1 − level is spent on the looks,
 * half of what is left at each (α-spending; Lan and DeMets 1983), and looks come at doubling numbers of samples only.
 */
export class Settling {
  readonly #options: SettleOptions & { readonly resamples: number; readonly seed: number };
  #look = 0;

  constructor(options: SettleOptions & { readonly resamples: number; readonly seed: number }) {
    this.#options = options;
  }

  /** True once settled; looks when there are enough samples for the next look. Arguments as of `bootstrapMeans`. */
  decided(sums: readonly Float64Array[], counts: readonly number[]): boolean {
    if (sums.length < FIRST_LOOK * 2 ** this.#look) return false;
    while (sums.length >= FIRST_LOOK * 2 ** this.#look) this.#look++;
    const error = (1 - this.#options.level) / 2 ** this.#look;
    return rankingStability(sums, counts, this.#options) >= 1 - error;
  }
}

/** Share of bootstrap resamples whose ranking of the K means is that of all samples; 0 where two means are equal. */
export function rankingStability(
  sums: readonly Float64Array[],
  counts: readonly number[],
  { resamples, seed, least }: { resamples: number; seed: number; least?: number },
): number {
  const K = sums[0]!.length;
  const totals = Array.from({ length: K }, (_, k) => sums.reduce((total, values) => total + values[k]!, 0));
  const order = Array.from(totals.keys()).sort((a, b) => totals[a]! - totals[b]!);
  let same = 0;
  forEachResample(sums, counts, { resamples, seed }, (means) => {
    same += Number(least === undefined ? ascends(means, order) : splits(means, order, least));
  });
  return same / resamples;
}

function ascends(means: Float64Array, order: readonly number[]): boolean {
  return order.every((k, i) => i === 0 || means[order[i - 1]!]! < means[k]!);
}

/** The first `least` of the order are all smaller than the rest. */
function splits(means: Float64Array, order: readonly number[], least: number): boolean {
  const largest = order.slice(0, least).reduce((most, k) => Math.max(most, means[k]!), -Infinity);
  return order.slice(least).every((k) => means[k]! > largest);
}
