import fc from "fast-check";
import {
  angularDistances,
  blockDrops,
  gateGradients,
  type MeasuredSamples,
  type Scores,
  type SequenceBatch,
} from "@slayer/importance";
import { describe, expect, it } from "vitest";
import { loadFixture } from "./models.js";

const { config, store, ids } = await loadFixture("llama-mha");

/** Sequences of 5 tokens, cut into batches of these sizes. */
function batchesOf(sizes: readonly number[]): SequenceBatch[] {
  let first = 0;
  return sizes.map((batch) => {
    const from = first;
    first += batch;
    const sequences = Array.from({ length: batch }, (_, b) => ids.subarray((from + b) % 30, ((from + b) % 30) + 5));
    return { ids: Int32Array.from(sequences.flatMap((one) => [...one])), batch, length: 5 };
  });
}

const items = Array.from({ length: 6 }, (_, i) => ({
  context: ids.slice(i, i + 3),
  choices: [
    { ids: ids.slice(i + 4, i + 6), bytes: 5 },
    { ids: ids.slice(i + 7, i + 8), bytes: 2 },
  ],
  answer: i % 2,
}));

type Options = {
  measured?: MeasuredSamples;
  onMeasured?: (measured: () => MeasuredSamples) => void;
  together?: number;
};
const measurements: Record<string, (batches: SequenceBatch[], options: Options) => Promise<Scores>> = {
  angular: (batches, options) => angularDistances(config, store, batches, { resamples: 50, ...options }),
  gate: (batches, options) => gateGradients(config, store, batches, { resamples: 50, ...options }),
  "removal on the loss": async (batches, options) =>
    (await blockDrops(config, store, { unit: "loss", batches }, ["removal"], { resamples: 50, ...options }))[0]!,
  "insertion on accuracy": async (batches, options) => {
    const data = { unit: "accuracy" as const, batches: batches.map(({ batch }) => items.slice(0, batch)) };
    return (await blockDrops(config, store, data, ["copy"], { resamples: 50, ...options }))[0]!;
  },
};

describe("a measurement that was cut off", () => {
  it.each(Object.entries(measurements))(
    "%s: goes on to the same document, wherever it stopped and however the rest is batched, through JSON",
    async (_, measure) => {
      const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 });
      await fc.assert(
        fc.asyncProperty(sizes, fc.nat(), fc.integer({ min: 1, max: 3 }), async (batchSizes, at, together) => {
          const batches = batchesOf(batchSizes);
          const whole = await measure(batches, {});
          const stops: (() => MeasuredSamples)[] = [];
          const onMeasured = (measured: () => MeasuredSamples) => stops.push(measured);
          expect(await measure(batches, { onMeasured, together })).toEqual(whole);
          const measured = JSON.parse(JSON.stringify(stops[at % stops.length]!())) as MeasuredSamples;
          expect(new Set(stops.map((stop) => stop().counts.length)).size).toBe(stops.length);
          expect(await measure(batches, { measured, together })).toEqual(whole);
        }),
        { numRuns: 8 },
      );
    },
  );

  it("stops early at the same sample as one that was not cut off", async () => {
    const batches = batchesOf(Array<number>(40).fill(1));
    const options = { resamples: 50, untilSettled: { level: 0.5, least: 1 } };
    const stops: MeasuredSamples[] = [];
    const onMeasured = (measured: () => MeasuredSamples) => stops.push(measured());
    const whole = await angularDistances(config, store, batches, { ...options, onMeasured });
    expect(whole.settled).toEqual({ level: 0.5, least: 1, decided: true });
    for (const at of [4, 14]) {
      expect(await angularDistances(config, store, batches, { ...options, measured: stops[at]! })).toEqual(whole);
    }
  });

  it("refuses what another measurement measured, and data that do not begin with the same samples", async () => {
    const stops: MeasuredSamples[] = [];
    const onMeasured = (measured: () => MeasuredSamples) => stops.push(measured());
    await measurements.gate!(batchesOf([2, 2]), { onMeasured });
    const [measured] = stops as [MeasuredSamples, MeasuredSamples];
    const refused = async (sizes: number[], wrong: MeasuredSamples, message: RegExp) =>
      expect(measurements.gate!(batchesOf(sizes), { measured: wrong })).rejects.toThrow(message);
    await refused([3, 1], measured, /no batch ends after the 2 samples/);
    await refused([1], measured, /2 samples were measured before, now there are 1/);
    await refused([2, 2], { ...measured, counts: [4] }, /another measurement/);
    await refused([2, 2], { ...measured, sums: [[1], [2]] }, /another measurement/);
    await expect(
      measurements.angular!(batchesOf([2, 2]), { measured: { ...measured, sums: [[NaN]] } }),
    ).rejects.toThrow(/another measurement/);
  });
});
