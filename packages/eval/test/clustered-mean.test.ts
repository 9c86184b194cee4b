import { describe, expect, it } from "vitest";
import { clusteredMean } from "../src/clustered-mean.js";

describe("mean and standard error over clusters", () => {
  it("of equal clusters is the standard deviation of their means over √W, to 1e-12", () => {
    // Means 1, 2, 3, 6: average 3, variance (4 + 1 + 0 + 9) / 3.
    const { mean, standardError } = clusteredMean([10, 20, 30, 60], [10, 10, 10, 10]);
    expect(mean).toBe(3);
    expect(Math.abs(standardError! - Math.sqrt(14 / 3) / 2)).toBeLessThanOrEqual(1e-12);
  });

  it("of unequal clusters, by hand, to 1e-12", () => {
    // m = 12 / 6; residuals 3 − 2·1, 5 − 2·2, 4 − 2·3; √(3/2 · (1 + 1 + 4)) / 6 = 1/2
    const { mean, standardError } = clusteredMean([3, 5, 4], [1, 2, 3]);
    expect(mean).toBe(2);
    expect(Math.abs(standardError! - 0.5)).toBeLessThanOrEqual(1e-12);
  });

  it("is what the mean really varies by: dependent observations in clusters of unequal size, within 5 %", () => {
    let state = 5;
    const uniform = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 2 ** 32;
    };
    const means: number[] = [];
    let meanVariance = 0;
    const trials = 4000;
    for (let trial = 0; trial < trials; trial++) {
      const counts = Array.from({ length: 40 }, () => 5 + Math.floor(uniform() * 20));
      const sums = counts.map((n) => {
        const shared = uniform() * 3; // what makes observations of one cluster alike
        let sum = 0;
        for (let i = 0; i < n; i++) sum += shared + uniform();
        return sum;
      });
      const { mean, standardError } = clusteredMean(sums, counts);
      means.push(mean);
      meanVariance += standardError! ** 2 / trials;
    }
    const average = means.reduce((a, b) => a + b) / trials;
    const variance = means.reduce((a, m) => a + (m - average) ** 2, 0) / (trials - 1);
    expect(Math.abs(Math.sqrt(meanVariance / variance) - 1)).toBeLessThanOrEqual(0.05);
  });

  it("says nothing of one cluster's spread", () => {
    expect(clusteredMean([6], [3])).toEqual({ mean: 2, standardError: null });
  });
});
