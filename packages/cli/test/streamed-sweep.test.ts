import { join } from "node:path";
import { blockTensors, Checkpoint, expectedTensors, type ModelConfig } from "@slayer/checkpoint";
import { angularDistances, blockDrops, type Change, type Scores, sweepEvaluations } from "@slayer/importance";
import { loadWeights } from "@slayer/model";
import { type Backend, type Buffer, Store } from "@slayer/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { probeBackends } from "../src/backends.js";
import { scratch } from "./support/slayer.js";

/** A backend that counts the bytes allocated on it, the most at any time, and the block evaluations. */
function instrumented(backend: Backend) {
  const sizes = new Map<Buffer, number>();
  const seen = { bytes: 0, mostBytes: 0, blocks: 0 };
  const counting: Backend = {
    name: backend.name,
    capabilities: backend.capabilities,
    supports: (kernel) => backend.supports(kernel),
    compile: (kernel) => backend.compile(kernel),
    allocate(bytes) {
      const buffer = backend.allocate(bytes);
      sizes.set(buffer, bytes);
      seen.bytes += bytes;
      seen.mostBytes = Math.max(seen.mostBytes, seen.bytes);
      return buffer;
    },
    free(buffer) {
      seen.bytes -= sizes.get(buffer) ?? NaN;
      sizes.delete(buffer);
      backend.free(buffer);
    },
    write: (buffer, offset, data) => backend.write(buffer, offset, data),
    read: (buffer, offset, bytes) => backend.read(buffer, offset, bytes),
    prepare: (plan, bindings) => backend.prepare(plan, bindings),
    run(executable, signal) {
      seen.blocks += executable.plan.steps.filter(({ op }) => op === "attention").length;
      return backend.run(executable, signal);
    },
    close: () => backend.close(),
  };
  return { counting, seen };
}

const elements = (shapes: Iterable<readonly number[]>): number =>
  [...shapes].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
const ALL: readonly Change[] = ["removal", "copy", "average"];
const T = 4;
const batches = [
  [5, 17, 200, 9],
  [400, 2, 77, 31],
  [8, 8, 600, 12],
].map((ids) => ({
  ids: Int32Array.from(ids),
  batch: 1,
  length: T,
}));

/** Every value and end of an interval. */
function numbers(scores: Scores): number[] {
  const all = scores.blocks.flatMap(({ value, low, high }) => [value, low!, high!]);
  return scores.metric === "angular" ? [...all, ...scores.distances.flat()] : [...all, scores.base];
}

const probes = await probeBackends(0);
const checkpointOf = async (dtype: "F32" | "BF16") => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"), { blocks: 6, hiddenSize: 64, vocabSize: 648, dtype });
  return Checkpoint.open(join(dir, "model"));
};

const working = probes.flatMap((probe) => ("backend" in probe ? [probe] : []));
const missing = probes.flatMap((probe) => ("backend" in probe ? [] : [`${probe.name}: ${probe.why}`]));

describe.skipIf(missing.length > 0)(`a streamed sweep where it cannot be seen here (${missing.join("; ")})`, () => {
  it("holds one block's weights in device memory at a time", () => expect(missing).toEqual([]));
});

describe.each(working)("a streamed sweep on the $name backend", ({ backend }) => {
  afterAll(() => backend.close());

  const bf16 = backend.capabilities.dtypes.includes("bf16");
  const sweep = async (config: ModelConfig, weights: Parameters<typeof blockDrops>[1], dtype: "F32" | "BF16") => {
    const options = { together: 2, storedAs: () => dtype };
    return [
      ...(await blockDrops(config, weights, { unit: "loss", batches }, ALL, options)),
      await angularDistances(config, weights, batches, options),
    ];
  };

  it.each([
    ["F32", 4],
    ["BF16", bf16 ? 2 : 4],
  ] as const)(
    "%s: holds one block's weights in device memory at a time; the numbers of a resident one, bit for bit",
    async (dtype, size) => {
      const checkpoint = await checkpointOf(dtype);
      const { config } = checkpoint;
      const store = new Store(backend);
      await loadWeights(checkpoint, store, { bf16 });
      const resident = await sweep(config, store, dtype);
      store.free();

      const { counting, seen } = instrumented(backend);
      const read = (name: string) => checkpoint.readF32(name);
      const streamed = await sweep(config, { backend: counting, read }, dtype);
      await checkpoint.close();
      expect(streamed.map(numbers)).toEqual(resident.map(numbers));
      const evaluations = sweepEvaluations(config.blocks, ALL) + config.blocks; // of the sweeps, and of the distances
      expect(seen.blocks).toBe(batches.length * evaluations);

      // Beside one block, or what stands outside the blocks: states of four tokens, and every tensor's alignment.
      const block = size * elements(blockTensors(config).values());
      const outer = size * elements(expectedTensors({ ...config, blocks: 0 }).values());
      const rest = 256 * 32 + 4 * T * (16 * config.hiddenSize + 8 * config.intermediateSize);
      expect(seen.mostBytes).toBeGreaterThan(Math.max(block, outer));
      expect(seen.mostBytes).toBeLessThan(Math.max(block, outer) + rest);
      expect(Math.max(block, outer) + rest).toBeLessThan(2 * block + Math.max(0, outer - block));
      expect(seen.bytes).toBe(0);
    },
  );
});
