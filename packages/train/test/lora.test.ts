import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Checkpoint } from "@slayer/checkpoint";
import { forwardInputs, loadWeights } from "@slayer/model";
import { companionName, learningRate } from "@slayer/optim";
import { createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, InterruptedError, readMetrics, RecipeError, type StepMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readFixture, relativeError } from "../../../test/support/safetensors.js";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";
import { initialiseAdapter } from "../src/adapter.js";
import { readGeometry } from "../src/model.js";
import { choosePrecision, setUp } from "../src/setup.js";

const root = fileURLToPath(new URL("../../../test/fixtures/losscurve/", import.meta.url));
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-lora-"));
  await writeTinyCheckpoint(join(dir, "base"));
  const lines = tinyTexts(40, 2).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(join(dir, "data.jsonl"), lines.join(""));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const recipe = (changes: object) =>
  checkRecipe(
    {
      model: join(dir, "base"),
      data: [{ path: join(dir, "data.jsonl") }],
      ...{ sequence_length: 16, batch: { sequences: 4, micro: 2 }, steps: 8, optimizer: { lr: 0.02 } },
      adapter: { name: "lora", rank: 4 },
      out: join(dir, "run"),
      ...changes,
    },
    "test recipe",
  );

describe("LoRA", () => {
  it("12 steps give PEFT's numbers: losses ≤ 1e-5, first gradients, gradient norms and final matrices ≤ 1e-4 relative", async () => {
    const expected = await readFixture(`${root}expected.lora.safetensors`);
    const batches = await readFixture(`${root}batches.safetensors`);
    const [steps, batch, length] = batches.get("input_ids")!.shape as [number, number, number];
    const adapter = { name: "lora", rank: 4, alpha: 6, targets: ["q_proj", "v_proj", "down_proj"] };
    const plan = recipe({
      ...{ model: `${root}model`, adapter, sequence_length: length, batch: { sequences: batch }, steps, clip: 2.3 },
      optimizer: { lr: 1e-2 },
    });
    const geometry = await readGeometry(plan);
    const backend = createReferenceBackend();
    const shape = { batch, length, segments: false, recompute: true, alone: false };
    const { store, optimizer, program } = await setUp(
      plan,
      geometry,
      backend,
      shape,
      choosePrecision(plan, geometry, backend),
    );
    const checkpoint = await Checkpoint.open(`${root}model`);
    await loadWeights(checkpoint, store);
    await checkpoint.close();
    await initialiseAdapter(store, optimizer, plan.adapter!, 1);
    const names = optimizer.trainable.map(({ name }) => name);
    const of = (kind: string, name: string) => expected.get(`${kind}.base_model.model.${name}`)!.data;
    for (const name of names) await store.write(name, Float32Array.from(of("initial", name)));
    for (let s = 0; s < steps; s++) {
      const slice = (key: string) =>
        (batches.get(key)!.data as Int32Array).slice(s * batch * length, (s + 1) * batch * length);
      const targets = slice("targets");
      const scored = targets.filter((t) => t >= 0).length;
      await program.run({ ...forwardInputs(geometry.config, slice("input_ids"), { batch, length }), targets });
      const loss = (await program.read("loss"))[0]! / scored;
      expect(relativeError([loss], [expected.get("losses")!.data[s]!])).toBeLessThanOrEqual(1e-5);
      if (s === 0) {
        for (const name of names) {
          const gradient = (await store.read(companionName("gradient", name))).map((g) => g / scored);
          expect(relativeError(gradient, of("grad", name)), name).toBeLessThanOrEqual(1e-4);
        }
      }
      const rate = learningRate({ name: "cosine", warmup: 3, final: 1e-3 }, 1e-2, s, steps);
      const norm = await optimizer.step(s, rate, 1 / scored);
      expect(relativeError([norm], [expected.get("grad_norms")!.data[s]!])).toBeLessThanOrEqual(1e-4);
    }
    for (const name of names) {
      expect(relativeError(await store.read(name), of("final", name)), name).toBeLessThanOrEqual(1e-4);
    }
  });

  it("a run starts from the unchanged model, learns, and writes PEFT's files", async () => {
    const held = join(dir, "held.txt");
    await writeFile(held, tinyTexts(5, 3).join("\n"));
    const evaluation = { eval: { every: 4, perplexity: [held] }, schedule: { name: "constant", warmup: 0 } };
    const result = await train(recipe(evaluation), createReferenceBackend());
    const frozen = recipe({ ...evaluation, adapter: undefined, trainable: ["norm"], out: join(dir, "frozen") });
    await train(frozen, createReferenceBackend());
    const first = async (run: string) => (await readMetrics(join(dir, run, "metrics.jsonl")))[0] as StepMetrics;
    expect((await first("run")).loss).toBe((await first("frozen")).loss);
    const evals = (await readMetrics(join(dir, "run", "metrics.jsonl"))).flatMap((line) =>
      "eval" in line ? Object.values(line.eval) : [],
    );
    expect(evals[1]).toBeLessThan(evals[0]!);
    expect(result.predicted.trainable).toBe(4 * 4 * (2 * 32 + 2 * 24 + 3 * 48));
    expect(result.measured.memory).toBe(result.predicted.memory.total);

    const config = JSON.parse(await readFile(join(result.model, "adapter_config.json"), "utf8")) as object;
    expect(config).toMatchObject({
      peft_type: "LORA",
      r: 4,
      lora_alpha: 16,
      base_model_name_or_path: join(dir, "base"),
    });
    const tensors = await readFixture(join(result.model, "adapter_model.safetensors"));
    expect(tensors.size).toBe(2 * 7 * 4);
    const down = "base_model.model.model.layers.3.mlp.down_proj";
    expect(tensors.get(`${down}.lora_A.weight`)!.shape).toEqual([4, 32]);
    expect(tensors.get(`${down}.lora_B.weight`)!.shape).toEqual([16, 4]);
    expect(tensors.get(`${down}.lora_B.weight`)!.data.some((value) => value !== 0)).toBe(true);
  });

  it("interrupted and resumed: the same curve bit for bit", async () => {
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 3 && controller.abort();
    const options = { signal: controller.signal, onStep };
    const [whole, cut] = [recipe({ out: join(dir, "whole") }), recipe({ out: join(dir, "cut") })];
    await train(whole, createReferenceBackend());
    await expect(train(cut, createReferenceBackend(), options)).rejects.toThrow(InterruptedError);
    await train(cut, createReferenceBackend(), { resume: true });
    const losses = async (run: string) =>
      (await readMetrics(join(dir, run, "metrics.jsonl"))).map((line) => (line as StepMetrics).loss);
    expect(await losses("cut")).toEqual(await losses("whole"));
    const adapters = ["whole", "cut"].map((run) => readFile(join(dir, run, "model", "adapter_model.safetensors")));
    const [a, b] = await Promise.all(adapters);
    expect(a!.equals(b!)).toBe(true);
  });

  it.each([
    [
      "a target that the model has not",
      { adapter: { name: "lora", targets: ["c_attn"] } },
      "no 'c_attn' in its blocks",
    ],
    ["trainable beside it", { trainable: "all" }, "leave trainable out"],
  ])("%s is a RecipeError", async (_, changes, message) => {
    const attempt = async () => train(recipe({ ...changes, out: join(dir, "no") }), createReferenceBackend());
    await expect(attempt()).rejects.toThrow(RecipeError);
    await expect(attempt()).rejects.toThrow(message);
  });
});
