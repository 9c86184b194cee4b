import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Checkpoint, CheckpointWriter, encodeFromF32, expectedTensors } from "@slayer/checkpoint";
import { addWeight, writeWeight } from "@slayer/model";
import {
  type Backend,
  BackendError,
  createReferenceBackend,
  dequantize,
  Graph,
  Program,
  type QuantizedFormat,
  quantizedTypes,
  Store,
} from "@slayer/tensor";
import {
  checkRecipe,
  dryRun,
  InterruptedError,
  readMetrics,
  RecipeError,
  type StepMetrics,
  train,
} from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-frozen-"));
  await writeTinyCheckpoint(join(dir, "base"), { hiddenSize: 36 }); // rows of 36 and 72: parts of words and of groups
  const lines = tinyTexts(40, 2).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(join(dir, "data.jsonl"), lines.join(""));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const recipe = (out: string, changes: object = {}) =>
  checkRecipe(
    {
      model: join(dir, "base"),
      trainable: ["model.layers.1", "model.layers.3"],
      data: [{ path: join(dir, "data.jsonl") }],
      ...{ sequence_length: 16, batch: { sequences: 4, micro: 2 }, steps: 8, optimizer: { lr: 0.02 } },
      checkpoint: { every: 3 },
      out: join(dir, out),
      ...changes,
    },
    "test recipe",
  );

async function losses(out: string): Promise<number[]> {
  const lines = await readMetrics(join(dir, out, "metrics.jsonl"));
  return lines.flatMap((line) => ("loss" in line ? [line.loss] : []));
}

async function tensors(model: string): Promise<Map<string, Buffer>> {
  const checkpoint = await Checkpoint.open(model);
  const found = new Map<string, Buffer>();
  for (const name of checkpoint.tensors.keys()) found.set(name, Buffer.from(await checkpoint.read(name)));
  await checkpoint.close();
  return found;
}

const isTrained = (name: string) => /^model\.layers\.[13]\./.test(name);

/**
 * Bytes of all weights by the definition: per frozen matrix of a block a code per value, in whole words per row, and an f32 per 64; all
 * others in f32. Each tensor takes whole pieces of 512 bytes.
 */
async function weightBytes(bits: number): Promise<number> {
  const checkpoint = await Checkpoint.open(join(dir, "base"));
  await checkpoint.close();
  const bytes = [...expectedTensors(checkpoint.config)].flatMap(([name, [rows = 1, columns = 1]]) => {
    if (isTrained(name) || !name.includes("_proj")) return [4 * rows * columns];
    return [4 * rows * Math.ceil((columns * bits) / 32), 4 * rows * Math.ceil(columns / 64)];
  });
  return bytes.reduce((total, n) => total + 512 * Math.ceil(n / 512), 0);
}

/** A matrix as training sees it: loaded into a store in this format, and widened again. */
async function rounded(values: Float32Array, shape: readonly number[], format: QuantizedFormat): Promise<Float32Array> {
  const store = new Store(createReferenceBackend());
  addWeight(store, "w", shape, format);
  await writeWeight(store, "w", shape, values);
  const graph = new Graph();
  const { codes, scales } = quantizedTypes(format, shape);
  const c = graph.parameter(`w.${format}`, codes.shape, "i32");
  const w = dequantize(c, graph.parameter("w.scales", scales.shape), format, shape[1]!);
  const program = await Program.compile(graph, { w }, store);
  await program.run();
  return (await program.read("w")) as Float32Array;
}

/** The base with its frozen matrices rounded so. */
async function writeRounded(to: string, format: QuantizedFormat): Promise<void> {
  const checkpoint = await Checkpoint.open(join(dir, "base"));
  await cp(join(dir, "base"), to, { recursive: true });
  await rm(join(to, "model.safetensors"));
  const specs = [...checkpoint.tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const writer = await CheckpointWriter.create(to, specs);
  for (const { name, shape } of specs) {
    const values = await checkpoint.readF32(name);
    const quantized = name.includes("_proj") && !isTrained(name);
    await writer.write(name, encodeFromF32(quantized ? await rounded(values, shape, format) : values, "F32"));
  }
  await writer.finish();
  await checkpoint.close();
}

describe("frozen matrices in int8 and nf4", () => {
  // int8 is off by up to 1/254 of the largest of 64 values, nf4 by 0.15 of it: random weights of ±0.2, four blocks.
  it.each([
    ["int8", 8, 0.002],
    ["nf4", 4, 0.05],
  ] as const)(
    "%s: trains, losses near those on the unrounded weights; memory is codes and scales, exactly; frozen tensors come out as they were",
    async (frozen, bits, tolerance) => {
      const [plain, quantized] = [recipe(`plain-${frozen}`), recipe(frozen, { frozen })];
      const whole = await train(plain, createReferenceBackend());
      const result = await train(quantized, createReferenceBackend());
      const [expected, got] = [await losses(`plain-${frozen}`), await losses(frozen)];
      expect(got).toHaveLength(8);
      got.forEach((loss, i) => expect(Math.abs(loss / expected[i]! - 1)).toBeLessThan(tolerance));
      expect(got).not.toEqual(expected);
      expect(got.at(-1)).toBeLessThan(got[0]! - 0.1);

      const { weights } = result.predicted.memory;
      expect(weights).toBe(await weightBytes(bits));
      expect(weights).toBeLessThan(whole.predicted.memory.weights);
      expect(result.measured.memory).toBe(result.predicted.memory.total);

      const [before, after] = [await tensors(plain.model), await tensors(result.model)];
      expect([...after.keys()]).toEqual([...before.keys()]);
      for (const [name, bytes] of before) expect(bytes.equals(after.get(name)!), name).toBe(!isTrained(name));
    },
  );

  it.each(["int8", "nf4"] as const)(
    "%s: every loss is that of training on the rounded matrices in f32, bit for bit",
    async (frozen) => {
      await writeRounded(join(dir, `rounded-${frozen}`), frozen);
      await train(recipe(`on-${frozen}`, { model: join(dir, `rounded-${frozen}`) }), createReferenceBackend());
      expect(await losses(`on-${frozen}`)).toEqual(await losses(frozen));
    },
  );

  it("with bf16 new blocks, recomputed: trains, every loss within 1 % of that with f32 ones", async () => {
    await train(recipe("bf16", { frozen: "nf4", precision: "bf16", recompute: "block" }), createReferenceBackend());
    const [f32, bf16] = [await losses("nf4"), await losses("bf16")];
    expect(bf16).not.toEqual(f32);
    bf16.forEach((loss, i) => expect(Math.abs(loss / f32[i]! - 1)).toBeLessThan(0.01));
  });

  it("interrupted and resumed: the same losses and the same model, bit for bit", async () => {
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 5 && controller.abort();
    const cut = recipe("cut", { frozen: "nf4" });
    await expect(train(cut, createReferenceBackend(), { signal: controller.signal, onStep })).rejects.toThrow(
      InterruptedError,
    );
    const { model } = await train(cut, createReferenceBackend(), { resume: true });
    expect(await losses("cut")).toEqual(await losses("nf4"));
    expect(await tensors(model)).toEqual(await tensors(join(dir, "nf4", "model")));
    const other = recipe("cut", { frozen: "int8" });
    await expect(train(other, createReferenceBackend(), { resume: true })).rejects.toThrow("differ in frozen");
  });

  it("beside an adapter everything of the model is frozen: QLoRA, losses within 5 % of LoRA's", async () => {
    const adapter = { trainable: "provenance", adapter: { name: "lora", rank: 4 }, steps: 4 };
    const { predicted } = await train(recipe("lora", adapter), createReferenceBackend());
    const rounded = await train(recipe("qlora", { ...adapter, frozen: "nf4" }), createReferenceBackend());
    expect(rounded.predicted.memory.weights).toBeLessThan(predicted.memory.weights);
    const [expected, got] = [await losses("lora"), await losses("qlora")];
    got.forEach((loss, i) => expect(Math.abs(loss / expected[i]! - 1)).toBeLessThan(0.05));
  });

  it("a backend without the kernel says so when the run is planned; with everything trained nothing is frozen", async () => {
    const whole = createReferenceBackend();
    const lacking: Backend = {
      ...whole,
      supports: (kernel) => (kernel.op === "dequantize" ? "there is no kernel for it" : whole.supports(kernel)),
    };
    const planned = dryRun(recipe("lacking", { frozen: "nf4" }), lacking);
    await expect(planned).rejects.toThrow(BackendError);
    await expect(planned).rejects.toThrow("cannot run dequantize: there is no kernel for it");
    expect(() => recipe("all", { trainable: "all", frozen: "nf4" })).toThrow(RecipeError);
  });
});
