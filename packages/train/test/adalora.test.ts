import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AddonMissingError, createCpuBackend } from "@slayer/backend-cpu";
import { Checkpoint } from "@slayer/checkpoint";
import { forwardInputs, loadWeights } from "@slayer/model";
import { companionName, learningRate } from "@slayer/optim";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, InterruptedError, readMetrics, RecipeError, type StepMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readFixture, relativeError } from "../../../test/support/safetensors.js";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";
import { diagonal, diagonalOf, initialiseAdapter } from "../src/adapter.js";
import { exportAdapter } from "../src/export-adapter.js";
import { readGeometry } from "../src/model.js";
import { RankAllocator } from "../src/rank-allocator.js";
import { choosePrecision, setUp } from "../src/setup.js";

const root = fileURLToPath(new URL("../../../test/fixtures/losscurve/", import.meta.url));
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-adalora-"));
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
      ...{ sequence_length: 16, batch: { sequences: 4, micro: 2 }, steps: 12, optimizer: { lr: 0.02 } },
      adapter: { name: "adalora", rank: 4, target_rank: 2, tinit: 2, tfinal: 3, deltaT: 2 },
      out: join(dir, "run"),
      ...changes,
    },
    "test recipe",
  );

const cpu = await createCpuBackend().catch((error: unknown) => {
  if (error instanceof AddonMissingError) return error;
  throw error;
});
afterAll(async () => {
  if (!(cpu instanceof Error)) await cpu.close();
});
const backends: [string, Backend | Error][] = [
  ["reference", createReferenceBackend()],
  [cpu instanceof Error ? `cpu, skipped: ${cpu.message}` : "cpu", cpu],
];

describe.each(backends)("AdaLoRA against PEFT on the backend %s", (_, backend) => {
  it.skipIf(backend instanceof Error)(
    "12 steps: the same triplets kept; losses and penalties ≤ 1e-5, gradients, norms, running means, matrices and singular values ≤ 1e-4 relative; the same files",
    async () => {
      const expected = await readFixture(`${root}expected.adalora.safetensors`);
      const batches = await readFixture(`${root}batches.safetensors`);
      const [steps, batch, length] = batches.get("input_ids")!.shape as [number, number, number];
      const targets = ["down_proj", "q_proj", "v_proj"];
      const times = { tinit: 2, tfinal: 3, deltaT: 2, betas: [0.85, 0.8] };
      const rank = 4;
      const plan = recipe({
        ...{ model: `${root}model`, sequence_length: length, batch: { sequences: batch }, steps, clip: 1.1 },
        adapter: { name: "adalora", rank, target_rank: 2, alpha: 6, targets, ...times },
        optimizer: { lr: 1e-2 },
      });
      const model = await readGeometry(plan);
      const shape = { batch, length, segments: false, recompute: true, alone: false };
      const precision = choosePrecision(plan, model, backend as Backend);
      const setup = await setUp(plan, model, backend as Backend, shape, precision);
      const { store, optimizer, program } = setup;
      const checkpoint = await Checkpoint.open(`${root}model`);
      await loadWeights(checkpoint, store);
      await checkpoint.close();
      await initialiseAdapter(store, optimizer, plan.adapter!, 1);
      const allocator = (await RankAllocator.of(plan.adapter, optimizer, model.config, steps))!;
      const names = optimizer.trainable.map(({ name }) => name);
      const of = (kind: string, name: string) => expected.get(`${kind}.base_model.model.${name}`)!.data;
      const read = async (name: string) => {
        const values = (await store.read(name)) as Float32Array;
        return name.endsWith("lora_E") ? diagonalOf(values, rank) : values;
      };
      for (const name of names) {
        const values = Float32Array.from(of("initial", name));
        await store.write(name, name.endsWith("lora_E") ? diagonal(values) : values);
      }
      const at = (key: string, s: number) => [expected.get(key)!.data[s]!];
      for (let s = 0; s < steps; s++) {
        const slice = (key: string) =>
          (batches.get(key)!.data as Int32Array).slice(s * batch * length, (s + 1) * batch * length);
        const wanted = slice("targets");
        const scored = wanted.filter((t) => t >= 0).length;
        await program.run({ ...forwardInputs(model.config, slice("input_ids"), { batch, length }), targets: wanted });
        const loss = (await program.read("loss"))[0]! / scored;
        expect(relativeError([loss], at("losses", s))).toBeLessThanOrEqual(1e-5);
        expect(relativeError([await allocator.regularise(scored)], at("penalties", s))).toBeLessThanOrEqual(1e-5);
        for (const name of s === 0 ? names : []) {
          const gradient = (await read(companionName("gradient", name))).map((g) => g / scored);
          expect(relativeError(gradient, of("grad", name)), name).toBeLessThanOrEqual(1e-4);
        }
        const rate = learningRate({ name: "cosine", warmup: 3, final: 1e-3 }, 1e-2, s, steps);
        const norm = await optimizer.step(s, rate, 1 / scored);
        expect(relativeError([norm], at("grad_norms", s))).toBeLessThanOrEqual(1e-4);
        const count = await allocator.allocate(s + 1);
        const kept = await allocator.kept();
        for (const [module, triplets] of kept) {
          const row = (key: string) => expected.get(`${key}.${module}`)!.data.slice(s * rank, (s + 1) * rank);
          if (row("kept")[0] !== -1) expect(triplets.map(Number), `step ${s}, ${module}`).toEqual([...row("kept")]);
          expect(relativeError(await read(`${module}.lora_E`), row("E"))).toBeLessThanOrEqual(1e-4);
        }
        expect(count).toBe([...kept.values()].flat().filter(Boolean).length);
        if (s + 1 !== steps - 4) continue; // the last step that updates the means
        for (const name of names) {
          for (const kind of ["sensitivity", "uncertainty"]) {
            const mean = await read(companionName(`adalora.${kind}`, name));
            expect(
              relativeError(mean, expected.get(`${kind}.${name}`)!.data),
              `${kind} of ${name}`,
            ).toBeLessThanOrEqual(1e-4);
          }
        }
      }
      for (const name of names)
        expect(relativeError(await read(name), of("final", name)), name).toBeLessThanOrEqual(1e-4);

      const out = join(dir, `exported-${(backend as Backend).name}`);
      await exportAdapter({ recipe: plan, model, setup, allocator }, out, "card");
      const [ours, theirs] = await Promise.all(
        [out, `${root}adapter`].map((files) => readFixture(join(files, "adapter_model.safetensors"))),
      );
      expect([...ours!.keys()].toSorted()).toEqual([...theirs!.keys()].toSorted());
      expect(theirs!.get("base_model.model.model.layers.3.self_attn.q_proj.lora_B")!.shape).toEqual([16, 0]);
      for (const [name, { shape: extents, data }] of theirs!) {
        expect(ours!.get(name)!.shape, name).toEqual(extents);
        expect(relativeError(ours!.get(name)!.data, data), name).toBeLessThanOrEqual(1e-4);
      }
      const config = async (files: string) =>
        JSON.parse(await readFile(join(files, "adapter_config.json"), "utf8")) as object;
      const { base_model_name_or_path: base, ...settings } = (await config(out)) as Record<string, unknown>;
      expect(base).toBe(plan.model);
      expect(await config(`${root}adapter`)).toMatchObject(settings);
    },
  );
});

describe("AdaLoRA in a run", () => {
  it("starts from the unchanged model, learns, lets ranks fall to the target, and takes the memory predicted", async () => {
    const constant = { schedule: { name: "constant", warmup: 0 } };
    const result = await train(recipe(constant), createReferenceBackend());
    const frozen = recipe({ ...constant, adapter: undefined, trainable: ["norm"], out: join(dir, "frozen") });
    await train(frozen, createReferenceBackend());
    const steps = async (run: string) => (await readMetrics(join(dir, run, "metrics.jsonl"))) as StepMetrics[];
    const lines = await steps("run");
    expect(lines[0]!.loss).toBe((await steps("frozen"))[0]!.loss);
    expect(lines.at(-1)!.loss).toBeLessThan(lines[0]!.loss);
    // 4 blocks of 7 modules: 112 triplets, of which 56 stay; decisions at 4, 6, 8 and 9 of 12 steps.
    const falling = [4, 6].map((t) => Math.floor(56 + 56 * (1 - (t - 2) / 7) ** 3));
    const ranks = [112, 112, 112, falling[0], falling[0], falling[1], falling[1], 56, 56, 56, 56, 56];
    expect(lines.map((line) => line.ranks)).toEqual(ranks);
    expect(lines.every(({ penalty }) => penalty! > 0)).toBe(true);
    expect(lines.at(-1)!.penalty).toBeLessThan(lines[0]!.penalty!);
    expect(result.predicted.trainable).toBe(4 * 4 * (2 * 32 + 2 * 24 + 3 * 48) + 112);
    expect(result.predicted.memory.importance).toBe(result.predicted.memory.moments);
    expect(result.measured.memory).toBe(result.predicted.memory.total);
  });

  it.each([5, 10])(
    "interrupted after step %i and resumed: curve, ranks and adapter the same bit for bit",
    async (at) => {
      const controller = new AbortController();
      const options = {
        signal: controller.signal,
        onStep: ({ step }: StepMetrics) => step === at && controller.abort(),
      };
      const [whole, cut] = [recipe({ out: join(dir, `whole-${at}`) }), recipe({ out: join(dir, `cut-${at}`) })];
      await train(whole, createReferenceBackend());
      await expect(train(cut, createReferenceBackend(), options)).rejects.toThrow(InterruptedError);
      await train(cut, createReferenceBackend(), { resume: true });
      const curve = async ({ out }: typeof whole) =>
        ((await readMetrics(join(out, "metrics.jsonl"))) as StepMetrics[]).map(({ loss, penalty, ranks }) => [
          loss,
          penalty,
          ranks,
        ]);
      expect(await curve(cut)).toEqual(await curve(whole));
      for (const file of ["adapter_model.safetensors", "adapter_config.json"]) {
        const [a, b] = await Promise.all([whole, cut].map(({ out }) => readFile(join(out, "model", file))));
        expect(a!.equals(b!), file).toBe(true);
      }
    },
  );

  it("the last decision, due after a step that was left out, is made after the next one; then it stays", async () => {
    const plan = recipe({ adapter: { name: "adalora", rank: 4, target_rank: 2, tfinal: 3, deltaT: 5 } });
    const model = await readGeometry(plan);
    const backend = createReferenceBackend();
    const shape = { batch: 1, length: 4, segments: false, recompute: false, alone: false };
    const { store, optimizer } = await setUp(plan, model, backend, shape, choosePrecision(plan, model, backend));
    await initialiseAdapter(store, optimizer, plan.adapter!, 1);
    const allocator = (await RankAllocator.of(plan.adapter, optimizer, model.config, 12))!;
    const counts = new Map<number, number>();
    const kept = new Map<number, string>();
    for (const step of [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]) {
      await allocator.regularise(1);
      await optimizer.step(step - 1, 0.01, 1);
      counts.set(step, await allocator.allocate(step));
      kept.set(step, JSON.stringify([...(await allocator.kept())]));
    }
    const after5 = Math.floor(56 + 56 * (1 - 5 / 9) ** 3);
    expect([...counts.values()]).toEqual([112, 112, 112, 112, after5, after5, after5, after5, 56, 56, 56]);
    expect(kept.get(10)).not.toBe(kept.get(8));
    expect(kept.get(12)).toBe(kept.get(10));
  });

  it.each([
    ["ranks that cannot fall", { target_rank: 4 }, "target_rank (4) must be below rank (4)"],
    ["no time for them to fall", { tinit: 0.5, tfinal: 6 }, "a run of 12 steps has none between them"],
    ["a setting of LoRA's that it has not", { dropout: 0.1 }, "dropout"],
  ])("%s: a RecipeError", (_, changes, message) => {
    const attempt = () => recipe({ adapter: { name: "adalora", rank: 4, target_rank: 2, ...changes } });
    expect(attempt).toThrow(RecipeError);
    expect(attempt).toThrow(message);
  });

  it("no time for the ranks to fall, known when the data is: a RecipeError, and the directory stays as it was", async () => {
    const short = recipe({
      adapter: { name: "adalora", tinit: 50 },
      steps: undefined,
      tokens: 640,
      out: join(dir, "no"),
    });
    await expect(train(short, createReferenceBackend())).rejects.toThrow("a run of 10 steps has none between them");
    await expect(readFile(join(dir, "no", "recipe.json"))).rejects.toThrow("ENOENT");
  });
});
