import { describe, expect, it } from "vitest";
import { bootstrapMeans } from "../src/bootstrap.js";

const options = { resamples: 2000, seed: 1, confidence: 0.95 };

/** Uniform in (0, 1); its own generator, so that nothing here shares randomness with the code under test. */
function uniforms(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

const ones = (samples: number) => Array<number>(samples).fill(1);
const columns = (...values: number[][]) => values[0]!.map((_, s) => Float64Array.from(values, (column) => column[s]!));

describe("percentile bootstrap", () => {
  it("of normal samples: mean ± 1.96·s/√S, ends within 10 % of the half-width", () => {
    const random = uniforms(7);
    const values = Array.from({ length: 400 }, () => {
      return 3 + 2 * Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
    });
    const mean = values.reduce((a, b) => a + b, 0) / 400;
    const deviation = Math.sqrt(values.reduce((a, x) => a + (x - mean) ** 2, 0) / 399);
    const half = (1.96 * deviation) / 20;
    const [{ low, high }] = bootstrapMeans(columns(values), ones(400), options) as [{ low: number; high: number }];
    expect(Math.abs(low - (mean - half))).toBeLessThanOrEqual(0.1 * half);
    expect(Math.abs(high - (mean + half))).toBeLessThanOrEqual(0.1 * half);
  });

  it("of few samples: quantiles of the exact bootstrap distribution, here binomial, error 0", () => {
    // The mean of a resample of ten zeros and ones, five each, is Binomial(10, 1/2) / 10: P(≤ 1) = 0.011, P(≤ 2) = 0.055.
    const [interval] = bootstrapMeans(columns([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), ones(10), options)!;
    expect(interval).toEqual({ low: 0.2, high: 0.8 });
  });

  it("covers the true mean of uniform samples in 95 % of experiments, ± 2 %: 1000 of them, S = 60", () => {
    const random = uniforms(11);
    let covered = 0;
    for (let seed = 0; seed < 1000; seed++) {
      const values = Array.from({ length: 60 }, random);
      const [{ low, high }] = bootstrapMeans(columns(values), ones(60), { ...options, resamples: 500, seed })!;
      if (low <= 0.5 && 0.5 <= high) covered++;
    }
    expect(Math.abs(covered / 1000 - 0.95)).toBeLessThanOrEqual(0.02);
  });

  it("weighs samples by their counts: two samples give the extremes of sum over count, error 0", () => {
    // Resamples: both the first (mean 1), both the second (mean 4), one of each ((2 + 12) / 5).
    const sums = [Float64Array.of(2), Float64Array.of(12)];
    expect(bootstrapMeans(sums, [2, 3], options)).toEqual([{ low: 1, high: 4 }]);
    expect(bootstrapMeans(sums, [2, 3], { ...options, confidence: 0.01 })).toEqual([{ low: 2.8, high: 2.8 }]);
  });

  it("gives every mean the same resamples: equal columns get equal intervals, a shifted one the shifted interval", () => {
    const [a, b, c] = bootstrapMeans(columns([1, 2, 4, 8], [1, 2, 4, 8], [17, 18, 20, 24]), ones(4), options)!;
    expect(b).toEqual(a);
    expect(c).toEqual({ low: a!.low + 16, high: a!.high + 16 });
  });

  it("depends on the seed only", () => {
    const values = columns(Array.from({ length: 50 }, (_, i) => i * i));
    const once = bootstrapMeans(values, ones(50), options);
    expect(bootstrapMeans(values, ones(50), options)).toEqual(once);
    expect(bootstrapMeans(values, ones(50), { ...options, seed: 2 })).not.toEqual(once);
  });

  it("says nothing about one sample", () => {
    expect(bootstrapMeans([Float64Array.of(2)], [1], options)).toBeNull();
  });
});
