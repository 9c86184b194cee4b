import { existsSync } from "node:fs";
import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCudaBackend } from "@slayer/backend-cuda";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, readMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

const driver = fileURLToPath(new URL("../../backend-cuda/build/Release/libcuda_host.so", import.meta.url));
const note = existsSync(driver) ? "" : ", not checked here: the host's CUDA driver was not built";

let dir: string;
let cuda: Backend;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-train-cuda-"));
  await writeTinyCheckpoint(join(dir, "base"), { hiddenSize: 64 });
  const lines = tinyTexts(60, 2).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(join(dir, "data.jsonl"), lines.join(""));
  if (note !== "") return;
  await mkdir(join(dir, "kernels"));
  await writeFile(join(dir, "kernels", "host.fatbin"), "the host's driver brings its own");
  Object.assign(process.env, { SLAYER_CUDA_DRIVER: driver, SLAYER_CUDA_KERNELS: join(dir, "kernels") });
  cuda = await createCudaBackend();
});
afterAll(async () => {
  await cuda?.close();
  await rm(dir, { recursive: true, force: true });
});

async function run(out: string, backend: Backend, changes: object) {
  const recipe = checkRecipe(
    {
      model: join(dir, "base"),
      trainable: ["model.layers.1", "model.layers.3"],
      data: [{ path: join(dir, "data.jsonl") }],
      ...{ sequence_length: 24, batch: { sequences: 2 }, steps: 4, optimizer: { lr: 0.005 } },
      out: join(dir, out),
      ...changes,
    },
    "test recipe",
  );
  const result = await train(recipe, backend);
  const lines = await readMetrics(join(recipe.out, "metrics.jsonl"));
  return { ...result, losses: lines.flatMap((line) => ("loss" in line ? [line.loss] : [])) };
}

describe.skipIf(note !== "")(`on the backend cuda, its kernels on the host${note}`, () => {
  it.each([
    { types: "f32", changes: {}, tolerance: 1e-4 },
    { types: "bf16 with masters", changes: { precision: "bf16" }, tolerance: 5e-3 },
    {
      types: "bf16 rounded stochastically",
      changes: { precision: "bf16", optimizer: { lr: 0.005, rounding: "stochastic" } },
      tolerance: 5e-3,
    },
  ])(
    "$types: losses as the reference's, relative error ≤ $tolerance (f32 sums, and in bf16 the roundings that fused products leave out); memory as predicted, workspace among it",
    async ({ types: name, changes, tolerance }) => {
      const wanted = await run(`reference ${name}`, createReferenceBackend(), changes);
      const got = await run(`cuda ${name}`, cuda, changes);
      expect(got.losses).toHaveLength(4);
      got.losses.forEach((loss, i) => expect(Math.abs(loss / wanted.losses[i]! - 1)).toBeLessThanOrEqual(tolerance));
      expect(got.losses.at(-1)!).toBeLessThan(got.losses[0]!);
      expect(got.predicted.memory.workspace).toBeGreaterThan(0);
      expect(got.measured.memory).toBe(got.predicted.memory.total);
    },
  );

  it("with no memory to measure rates in: runs, and says nothing of time; with too little for the run, what that takes", async () => {
    process.env.SLAYER_HOST_DRIVER = `memory=${2 ** 24}`;
    try {
      const small = await createCudaBackend();
      const { predicted, measured } = await run("small", small, {});
      expect(predicted.time).toBe(null);
      expect(measured.memory).toBe(predicted.memory.total);
      const large = run("large", small, { sequence_length: 256, batch: { sequences: 11 } });
      await expect(large).rejects.toThrow(
        /no memory for .*; the run takes \d+.\d MiB: weights .*lower batch.micro or sequence_length/,
      );
      await small.close();
    } finally {
      delete process.env.SLAYER_HOST_DRIVER;
    }
  });
});
