import { blockDrops } from "@slayer/importance";
import { describe, expect, it } from "vitest";
import { rankingStability, Settling } from "../src/settle.js";
import { loadFixture } from "./models.js";

/** Standard normal numbers, the same every time. */
function normals(seed: number): () => number {
  let state = seed;
  const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

const draw = (means: number[], samples: number, seed: number) => {
  const normal = normals(seed);
  return Array.from({ length: samples }, () => Float64Array.from(means, (mean) => mean + normal()));
};
const ones = (n: number) => Array<number>(n).fill(1);

describe("ranking stability", () => {
  const options = { resamples: 2000, seed: 0 };

  it("of two means is the bootstrap probability that they stay in order: Φ(difference / standard error), ± 0.03", () => {
    // Differences of 64 samples with variance 2 around 0.25: z = 0.25 / √(2/64) = √2, shifted to be exact in the sample.
    const sums = draw([0, 0], 64, 7);
    const differences = sums.map(([a, b]) => b! - a!);
    const mean = differences.reduce((x, y) => x + y) / 64;
    const deviation = Math.sqrt(differences.reduce((x, y) => x + (y - mean) ** 2, 0) / 64);
    const shift = (deviation / 8) * Math.SQRT2 - mean;
    const shifted = sums.map(([a, b]) => Float64Array.of(a!, b! + shift));
    expect(Math.abs(rankingStability(shifted, ones(64), options) - 0.9214)).toBeLessThanOrEqual(0.03); // Φ(√2)
  });

  it("is 1 where the means are far apart, 0 where two are equal, and looks at the split only where asked", () => {
    const far = draw([0, 100, 50], 30, 1);
    expect(rankingStability(far, ones(30), options)).toBe(1);
    const tied = far.map(([a, b]) => Float64Array.of(a!, b!, b!));
    expect(rankingStability(tied, ones(30), options)).toBe(0);
    expect(rankingStability(tied, ones(30), { ...options, least: 1 })).toBe(1);
    expect(rankingStability(tied, ones(30), { ...options, least: 2 })).toBe(0);
  });
});

describe("settling", () => {
  it("looks at 16, 32, 64, … samples only; at level 0.9 it settles on a wrong order in at most 10 % of experiments (+ 4 %)", () => {
    const options = { level: 0.9, resamples: 400, seed: 0 };
    let wrong = 0;
    const experiments = 200;
    for (let e = 0; e < experiments; e++) {
      const sums = draw([0, 0], 128, 1000 + 17 * e);
      const settling = new Settling(options);
      const stops = [...sums.keys()]
        .filter((n) => settling.decided(() => sums.slice(0, n + 1), ones(n + 1)))
        .map((n) => n + 1);
      expect(stops.every((n) => [16, 32, 64, 128].includes(n))).toBe(true);
      const [stop] = stops;
      if (stop === undefined) continue;
      wrong += Number(sums.slice(0, stop).reduce((sum, [a, b]) => sum + a! - b!, 0) > 0);
    }
    // The hardest case: b is larger than a by next to nothing.
    expect(wrong / experiments).toBeLessThanOrEqual(0.14);
    expect(wrong).toBeGreaterThan(0);
  });

  it("a sweep stops once its ranking has settled, and says so; one that cannot settle measures all", async () => {
    const { config, store, ids } = await loadFixture("llama-mha");
    const windows = Array.from({ length: 40 }, (_, i) => ({
      ids: ids.slice(i % 30, (i % 30) + 8),
      batch: 1,
      length: 8,
    }));
    const settled = { level: 0.5, least: 1 };
    const [early] = await blockDrops(config, store, { unit: "loss", batches: windows }, ["removal"], {
      untilSettled: settled,
    });
    expect(early!.settled).toEqual({ ...settled, decided: true });
    expect([16, 32]).toContain(early!.samples);
    for (const name of ["self_attn.o_proj", "mlp.down_proj"]) {
      for (const l of [0, 1]) {
        const weight = `model.layers.${l}.${name}.weight`;
        await store.write(
          weight,
          (await store.read(weight)).map(() => 0),
        );
      }
    }
    const [never] = await blockDrops(config, store, { unit: "loss", batches: windows }, ["removal"], {
      untilSettled: settled,
    });
    expect(never!.settled).toEqual({ ...settled, decided: false });
    expect(never!.samples).toBe(40);
  });
});
