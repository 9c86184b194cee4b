import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AddonMissingError, createCpuBackend } from "@slayer/backend-cpu";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, readMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

const cpu = await createCpuBackend().catch((error: unknown) => {
  if (error instanceof AddonMissingError) return error;
  throw error;
});
const missing = cpu instanceof Error;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-train-cpu-"));
  await writeTinyCheckpoint(join(dir, "f32"), { hiddenSize: 32 });
  await writeTinyCheckpoint(join(dir, "bf16"), { hiddenSize: 32, dtype: "BF16" });
  const lines = tinyTexts(60, 2).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(join(dir, "data.jsonl"), lines.join(""));
});
afterAll(async () => {
  if (!missing) await cpu.close();
  await rm(dir, { recursive: true, force: true });
});

async function run(out: string, changes: object, backend: Backend = cpu as Backend) {
  const recipe = checkRecipe(
    {
      model: join(dir, "f32"),
      trainable: ["model.layers.1", "model.layers.3"],
      data: [{ path: join(dir, "data.jsonl") }],
      ...{ sequence_length: 32, batch: { sequences: 8, micro: 4 }, steps: 30, optimizer: { lr: 0.005 } },
      out: join(dir, out),
      ...changes,
    },
    "test recipe",
  );
  const result = await train(recipe, backend);
  const lines = await readMetrics(join(recipe.out, "metrics.jsonl"));
  return { ...result, losses: lines.flatMap((line) => ("loss" in line ? [line.loss] : [])) };
}

describe.skipIf(missing)(`on the backend cpu${missing ? `, skipped: ${cpu.message}` : ""}`, () => {
  it("bf16 weights with f32 masters: every loss within 0.5 % of f32's (7 bits of fraction), and it learns", async () => {
    const [f32, bf16] = [await run("plain", {}), await run("rounded", { precision: "bf16" })];
    expect(bf16.predicted.precision).toEqual({ activations: "f32", trained: "bf16", masters: true });
    expect(bf16.losses).not.toEqual(f32.losses);
    bf16.losses.forEach((loss, i) => expect(Math.abs(loss / f32.losses[i]! - 1)).toBeLessThan(0.005));
    expect(bf16.losses.at(-1)).toBeLessThan(bf16.losses[0]! - 0.3);
  });

  it("frozen weights of a BF16 checkpoint stay bf16 in f32 training: half their memory", async () => {
    const [wide, narrow] = [await run("wide", {}), await run("narrow", { model: join(dir, "bf16") })];
    expect(narrow.predicted.precision).toEqual({ activations: "f32", trained: "f32", masters: false });
    const saved = wide.predicted.memory.weights - narrow.predicted.memory.weights;
    const { parameters, trainable } = narrow.predicted;
    expect(saved).toBeGreaterThanOrEqual(2 * (parameters - trainable));
    expect(saved).toBeLessThan(2.1 * (parameters - trainable));
  });

  // Both read the same codes; sums in f32 against f64, over 6 steps.
  it.each(["int8", "nf4"])("frozen matrices in %s: every loss is the reference's (1e-5 relative)", async (frozen) => {
    const [native, reference] = [
      await run(`native-${frozen}`, { frozen, steps: 6 }),
      await run(`reference-${frozen}`, { frozen, steps: 6 }, createReferenceBackend()),
    ];
    expect(native.losses).toHaveLength(6);
    native.losses.forEach((loss, i) => expect(Math.abs(loss / reference.losses[i]! - 1)).toBeLessThan(1e-5));
  });

  it("predicted memory is what is allocated, to the byte", async () => {
    const kinds = [
      { precision: "f32" },
      { precision: "bf16" },
      { frozen: "nf4" },
      { precision: "bf16", frozen: "int8" },
    ];
    for (const [i, kind] of kinds.entries()) {
      const { predicted, measured } = await run(`memory-${i}`, { ...kind, steps: 2 });
      expect(measured.memory).toBe(predicted.memory.total);
    }
  });
});
