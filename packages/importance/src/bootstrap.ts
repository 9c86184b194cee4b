import { ImportanceError } from "./errors.js";

/** Of every interval in this package. */
export const CONFIDENCE = 0.95;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  /** How many times the samples are drawn again. */
  readonly resamples: number;
  /** 0 … 2³² − 1; the same seed gives the same intervals. */
  readonly seed: number;
  /** Share of resampled means inside the interval, e.g. 0.95. */
  readonly confidence: number;
}

/** @throws ImportanceError for settings that a caller cannot have meant */
export function checkBootstrap(resamples: number, seed: number): void {
  checkRange("resamples", resamples, 1, 1e6);
  checkRange("seed", seed, 0, 2 ** 32 - 1);
}

function checkRange(name: string, value: number, from: number, to: number): void {
  if (Number.isInteger(value) && value >= from && value <= to) return;
  throw new ImportanceError(`${name} must be an integer from ${from} to ${to}, got ${value}`);
}

/**
 * Percentile bootstrap (Efron and Tibshirani 1993, ch. 13) of K means over the same S samples. Sample s contributes `counts[s]` observations
 * whose sums are `sums[s]` [K]; mean k is Σ_s sums[s][k] / Σ_s counts[s]. A resample draws S whole samples with
 * replacement, so that observations of one sample, which resemble one another, stay together. The interval's ends are
 * quantiles of the resampled means, linear between order statistics.
 *
 * For few or skewed samples the interval is somewhat narrow: of 60 from an exponential distribution, the nominal 95 %
 * cover the mean in about 93 % of cases.
 *
 * Null for fewer than two samples: one sample says nothing about its spread.
 */
export function bootstrapMeans(
  sums: readonly Float64Array[],
  counts: readonly number[],
  { resamples, seed, confidence }: BootstrapOptions,
): Interval[] | null {
  if (sums.length < 2) return null;
  const columns = Array.from(sums[0]!, () => new Float64Array(resamples));
  forEachResample(sums, counts, { resamples, seed }, (means, r) => {
    for (let k = 0; k < means.length; k++) columns[k]![r] = means[k]!;
  });
  const tail = (1 - confidence) / 2;
  return columns.map((values) => {
    values.sort();
    return { low: quantile(values, tail), high: quantile(values, 1 - tail) };
  });
}

/** Calls `visit` with the K means [K] of each resample, as `bootstrapMeans` draws them; the array is reused. */
export function forEachResample(
  sums: readonly Float64Array[],
  counts: readonly number[],
  { resamples, seed }: Omit<BootstrapOptions, "confidence">,
  visit: (means: Float64Array, resample: number) => void,
): void {
  const samples = sums.length;
  const random = mulberry32(seed);
  const means = new Float64Array(sums[0]?.length ?? 0);
  for (let r = 0; r < resamples; r++) {
    means.fill(0);
    let count = 0;
    for (let draw = 0; draw < samples; draw++) {
      const s = Math.floor(random() * samples);
      const values = sums[s]!;
      for (let k = 0; k < means.length; k++) means[k]! += values[k]!;
      count += counts[s]!;
    }
    for (let k = 0; k < means.length; k++) means[k]! /= count;
    visit(means, r);
  }
}

function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)]!;
  return below + (at - Math.floor(at)) * (sorted[Math.ceil(at)]! - below);
}

/** Uniform in [0, 1): Mulberry32 (T. Ettinger), 32 bits of state and period 2^32, ample for choosing samples. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
