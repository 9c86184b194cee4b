import { bootstrapMeans, CONFIDENCE, type Interval } from "./bootstrap.js";
import { ImportanceError } from "./errors.js";

/** What was measured so far, sample by sample, so that a measurement which was cut off can go on. Plain JSON data. */
export interface MeasuredSamples {
  /** Tokens scored, or averaged over, in all. */
  readonly tokens: number;
  /** Per sample, its observations: the tokens of a sequence; 1 for an item. */
  readonly counts: readonly number[];
  /** Per sample, sums over its observations. Which, is the measurement's own affair. */
  readonly sums: readonly (readonly number[])[];
}

/** What every measurement is asked for beside its own options. */
export interface MeasureOptions {
  /** Of the bootstrap behind the confidence intervals. Default 2000. */
  readonly resamples?: number;
  /** Of the bootstrap: 0 … 2³² − 1. Default 0. */
  readonly seed?: number;
  /**
   * Go on from what an earlier call with the same arguments handed to `onMeasured`. The batches begin with those already
   * measured, which are skipped; the result is that of one call, bit for bit.
   */
  readonly measured?: MeasuredSamples;
  /** Called whenever more samples were measured and there is more to do; gives, now or later, all of them so far. */
  readonly onMeasured?: (measured: () => MeasuredSamples) => void;
  readonly signal?: AbortSignal;
}

/** Sums of K quantities over the observations of each sample. */
export class Samples {
  readonly sums: Float64Array[] = [];
  readonly counts: number[] = [];
  tokens = 0;

  /** @throws ImportanceError when what was measured before does not have `width` finite quantities per sample */
  constructor(width: number, before?: MeasuredSamples) {
    if (before === undefined) return;
    const { counts, sums, tokens } = before;
    const fits =
      counts.length === sums.length &&
      counts.every((count) => Number.isInteger(count) && count > 0) &&
      sums.every((row) => row.length === width && row.every(Number.isFinite)) &&
      Number.isSafeInteger(tokens);
    if (!fits) throw new ImportanceError("what was measured before is of another measurement; begin anew");
    this.counts.push(...counts);
    this.sums.push(...sums.map((row) => Float64Array.from(row)));
    this.tokens = tokens;
  }

  get length(): number {
    return this.counts.length;
  }

  add(count: number, sums: Float64Array): void {
    this.counts.push(count);
    this.sums.push(sums);
  }

  /** What is measured now, whatever is added until it is asked for. */
  noted(): () => MeasuredSamples {
    const { length, tokens } = this;
    return () => ({
      tokens,
      counts: this.counts.slice(0, length),
      sums: this.sums.slice(0, length).map((row) => [...row]),
    });
  }

  get observations(): number {
    return this.counts.reduce((a, b) => a + b, 0);
  }

  /** Quantity k over all samples. */
  total(k: number): number {
    return this.sums.reduce((total, row) => total + row[k]!, 0);
  }

  /** Means of the K quantities over all observations. */
  means(): number[] {
    const { observations } = this;
    return Array.from({ length: this.sums[0]?.length ?? 0 }, (_, k) => this.total(k) / observations);
  }

  /** 95 % intervals of the K means; null for one sample. */
  intervals(resamples: number, seed: number): Interval[] | null {
    return bootstrapMeans(this.sums, this.counts, { resamples, seed, confidence: CONFIDENCE });
  }
}

/**
 * The batches after the first `done` samples, up to `together` at a time.
 * @throws ImportanceError when no batch ends at that sample
 */
export async function* remaining<T>(
  batches: Iterable<T> | AsyncIterable<T>,
  samplesOf: (batch: T) => number,
  done: number,
  together = 1,
): AsyncGenerator<T[]> {
  let passed = 0;
  let group: T[] = [];
  for await (const batch of batches) {
    const before = passed;
    passed += samplesOf(batch);
    if (before < done) {
      if (passed <= done) continue;
      throw new ImportanceError(`no batch ends after the ${done} samples measured before; begin anew`);
    }
    if (group.push(batch) < together) continue;
    yield group;
    group = [];
  }
  if (passed < done) throw new ImportanceError(`${done} samples were measured before, now there are ${passed}`);
  if (group.length > 0) yield group;
}
