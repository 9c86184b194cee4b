import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Checkpoint } from "@slayer/checkpoint";
import { expand, planSlayer } from "@slayer/surgery";
import { type Backend, createReferenceBackend, OutOfMemoryError } from "@slayer/tensor";
import { checkRecipe, InterruptedError, readMetrics, type StepMetrics, train, TrainingError } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

let dir: string;
let base: string;
let expanded: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-train-"));
  base = join(dir, "base");
  expanded = join(dir, "expanded");
  await writeTinyCheckpoint(base, { blocks: 6 });
  const checkpoint = await Checkpoint.open(base);
  // 6 blocks and one inserted, the last pruned and the one before it updated: 6 blocks, two of them trainable.
  await expand(checkpoint, planSlayer(checkpoint.config, { groups: 1, groupSize: 2, prune: 1 }), expanded);
  await checkpoint.close();
  await writeFile(
    join(dir, "data.jsonl"),
    tinyTexts(60, 2)
      .map((text) => `${JSON.stringify({ text })}\n`)
      .join(""),
  );
  await writeFile(join(dir, "held.txt"), tinyTexts(5, 3).join("\n"));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

const recipe = (out: string, changes: object = {}) =>
  checkRecipe(
    {
      model: expanded,
      data: [{ path: join(dir, "data.jsonl") }],
      sequence_length: 16,
      batch: { sequences: 4, micro: 2 },
      steps: 8,
      optimizer: { lr: 0.01 },
      schedule: { warmup: 2 },
      checkpoint: { every: 3, keep: 2 },
      eval: { every: 4, perplexity: [join(dir, "held.txt")] },
      out: join(dir, out),
      ...changes,
    },
    "test recipe",
  );

/** The curve without what depends on the clock. */
async function curve(out: string) {
  return (await readMetrics(join(dir, out, "metrics.jsonl"))).map((line) => {
    const { seconds: _, tokens_per_second: __, ...rest } = line as StepMetrics;
    return rest;
  });
}

async function tensorBytes(model: string): Promise<Map<string, Uint8Array>> {
  const checkpoint = await Checkpoint.open(model);
  const entries = await Promise.all(
    [...checkpoint.tensors.keys()].map(async (name) => [name, await checkpoint.read(name)] as const),
  );
  await checkpoint.close();
  return new Map(entries);
}

describe("continued pre-training of a surgically expanded model", () => {
  it("trains exactly the new and updated blocks; every other tensor is bit-identical afterwards", async () => {
    const result = await train(recipe("plain"), createReferenceBackend());
    const [before, after] = [await tensorBytes(expanded), await tensorBytes(result.model)];
    const changed = [...before.keys()].filter((name) => !Buffer.from(before.get(name)!).equals(after.get(name)!));
    expect(after.size).toBe(before.size);
    // inserted: index 2 (after originals 0 and 1); updated: index 5. All of their tensors, nothing else.
    const expected = [...before.keys()].filter((name) => /^model\.layers\.(2|5)\./.test(name));
    expect(changed.toSorted()).toEqual(expected.toSorted());
    const losses = (await curve("plain")).flatMap((line) => ("loss" in line ? [line.loss] : []));
    expect(losses).toHaveLength(8);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
  });

  it("evaluates held-out text every so many steps and at the end", async () => {
    const evals = (await readMetrics(join(dir, "plain", "metrics.jsonl"))).filter((line) => "eval" in line);
    expect(evals.map(({ step }) => step)).toEqual([4, 8]);
    for (const line of evals) expect(Object.values(line.eval)[0]).toBeGreaterThan(0);
  });

  it("keeps the last two checkpoints only", async () => {
    expect(await readdir(join(dir, "plain", "checkpoints"))).toEqual(["step-00000006", "step-00000008"]);
  });

  it("interrupted at any step and resumed: curve and model equal the uninterrupted run's bit for bit", async () => {
    for (const stopAfter of [1, 3, 4, 7]) {
      const out = `interrupted-${stopAfter}`;
      const controller = new AbortController();
      const onStep = ({ step }: StepMetrics) => step === stopAfter && controller.abort();
      await expect(train(recipe(out), createReferenceBackend(), { signal: controller.signal, onStep })).rejects.toThrow(
        InterruptedError,
      );
      const result = await train(recipe(out), createReferenceBackend(), { resume: true });
      expect(await curve(out)).toEqual(await curve("plain"));
      expect(await tensorBytes(result.model)).toEqual(await tensorBytes(join(dir, "plain", "model")));
    }
  });

  it("a damaged checkpoint is passed over for the one before, and the curve stays the same", async () => {
    await train(recipe("damaged"), createReferenceBackend());
    const file = join(dir, "damaged", "checkpoints", "step-00000008", "model.safetensors");
    const bytes = await readFile(file);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(file, bytes);
    const warnings: string[] = [];
    await train(recipe("damaged"), createReferenceBackend(), {
      resume: true,
      warn: (message) => warnings.push(message),
    });
    expect(warnings).toEqual([expect.stringContaining("step-00000008 is damaged and is passed over")]);
    expect(await curve("damaged")).toEqual(await curve("plain"));
    for (const step of await readdir(join(dir, "damaged", "checkpoints"))) {
      await writeFile(join(dir, "damaged", "checkpoints", step, "state.json"), "{}");
    }
    await expect(train(recipe("damaged"), createReferenceBackend(), { resume: true })).rejects.toThrow(
      "none of the checkpoints there can be read; --overwrite begins the run anew",
    );
    expect((await curve("damaged")).length).toBeGreaterThan(8);
  });

  it("a last metrics line cut short by a crash is dropped on resume", async () => {
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 5 && controller.abort();
    await expect(train(recipe("cut"), createReferenceBackend(), { signal: controller.signal, onStep })).rejects.toThrow(
      "stopped after step 5 of 8",
    );
    await writeFile(join(dir, "cut", "metrics.jsonl"), '{"step":6,"lo', { flag: "a" });
    await train(recipe("cut"), createReferenceBackend(), { resume: true });
    expect(await curve("cut")).toEqual(await curve("plain"));
  });

  it("micro-batches do not change the step: losses equal to 1e-6 relative", async () => {
    await train(recipe("one-batch", { batch: { sequences: 4 } }), createReferenceBackend());
    const [one, two] = [await curve("one-batch"), await curve("plain")];
    const losses = (lines: object[]) => lines.flatMap((line) => ("loss" in line ? [line.loss as number] : []));
    losses(one).forEach((loss, i) => expect(Math.abs(loss / losses(two)[i]! - 1)).toBeLessThan(1e-6));
  });

  it("documents packed with boundaries: trains, with other losses than concatenation", async () => {
    await train(recipe("documents", { packing: "documents", recompute: "block" }), createReferenceBackend());
    const lines = await curve("documents");
    expect(lines).toHaveLength((await curve("plain")).length);
    expect(lines).not.toEqual(await curve("plain"));
  });

  it("bf16: weights, activations and frozen weights rounded, f32 masters: every loss within 1 % of f32's, and it learns", async () => {
    const result = await train(recipe("bf16", { precision: "bf16" }), createReferenceBackend());
    const losses = async (out: string) =>
      (await curve(out)).flatMap((line) => ("loss" in line ? [line.loss as number] : []));
    const [f32, bf16] = [await losses("plain"), await losses("bf16")];
    expect(bf16).not.toEqual(f32);
    bf16.forEach((loss, i) => expect(Math.abs(loss / f32[i]! - 1)).toBeLessThan(0.01));
    const [before, after] = [await tensorBytes(expanded), await tensorBytes(result.model)];
    const changed = [...before.keys()].filter((name) => !Buffer.from(before.get(name)!).equals(after.get(name)!));
    expect(changed.every((name) => /^model\.layers\.(2|5)\./.test(name))).toBe(true);
    // What is exported are the masters: not all of their bits are those of a bf16.
    const exported = after.get("model.layers.2.mlp.up_proj.weight")!;
    expect(new Uint32Array(exported.slice().buffer).some((bits) => (bits & 0xffff) !== 0)).toBe(true);
  });

  it("bf16, interrupted and resumed: the same curve bit for bit", async () => {
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 5 && controller.abort();
    const options = { signal: controller.signal, onStep };
    await expect(train(recipe("bf16-cut", { precision: "bf16" }), createReferenceBackend(), options)).rejects.toThrow(
      InterruptedError,
    );
    await train(recipe("bf16-cut", { precision: "bf16" }), createReferenceBackend(), { resume: true });
    expect(await curve("bf16-cut")).toEqual(await curve("bf16"));
  });

  it("bf16 without masters, rounded stochastically: every loss within 1 % of f32's, it learns, and resumes to the same bits", async () => {
    const changes = { precision: "bf16", optimizer: { lr: 0.01, rounding: "stochastic" } };
    const result = await train(recipe("stochastic", changes), createReferenceBackend());
    const losses = async (out: string) =>
      (await curve(out)).flatMap((line) => ("loss" in line ? [line.loss as number] : []));
    const [f32, bf16] = [await losses("plain"), await losses("stochastic")];
    bf16.forEach((loss, i) => expect(Math.abs(loss / f32[i]! - 1)).toBeLessThan(0.01));
    expect(bf16.at(-1)).toBeLessThan(bf16[0]!);
    expect(result.predicted.memory.masters).toBe(0);
    expect(result.measured.memory).toBe(result.predicted.memory.total);
    // What is trained is bf16: the lower half of every value is empty.
    const exported = (await tensorBytes(result.model)).get("model.layers.2.mlp.up_proj.weight")!;
    expect(new Uint32Array(exported.slice().buffer).every((bits) => (bits & 0xffff) === 0)).toBe(true);

    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 4 && controller.abort();
    const cut = recipe("stochastic-cut", changes);
    await expect(train(cut, createReferenceBackend(), { signal: controller.signal, onStep })).rejects.toThrow(
      InterruptedError,
    );
    await train(cut, createReferenceBackend(), { resume: true });
    expect(await curve("stochastic-cut")).toEqual(await curve("stochastic"));
  });

  it("predicted memory is what is allocated, to the byte", async () => {
    for (const [i, precision] of ["f32", "bf16"].entries()) {
      const { predicted, measured } = await train(
        recipe(`memory-${i}`, { precision, steps: 4 }),
        createReferenceBackend(),
      );
      expect(measured.memory).toBe(predicted.memory.total);
    }
  });

  it("recomputing blocks changes no bit of the curve", async () => {
    await train(recipe("recompute", { recompute: "block" }), createReferenceBackend());
    expect(await curve("recompute")).toEqual(await curve("plain"));
  });
});

describe("mistakes", () => {
  it("stochastic rounding wants precision: bf16, no adapter, and a backend that has it", async () => {
    const optimizer = { rounding: "stochastic" };
    expect(() => recipe("rounding", { optimizer })).toThrow(/wants precision: bf16 and no adapter/);
    const backend: Backend = {
      ...createReferenceBackend(),
      name: "other",
      supports: ({ op }) => op !== "adamw" || "no",
    };
    const run = train(recipe("rounding", { optimizer, precision: "bf16" }), backend);
    await expect(run).rejects.toThrow(
      "optimizer.rounding: stochastic is not built for the backend other; leave it out",
    );
  });

  it("a run that the device's memory does not hold: what it takes by component, and what helps; nothing stays allocated", async () => {
    const ample = createReferenceBackend();
    let room = 0;
    const backend: Backend = {
      ...ample,
      allocate(bytes) {
        if (bytes > room) throw new OutOfMemoryError(`${bytes} bytes, of ${room}`);
        room -= bytes;
        return ample.allocate(bytes);
      },
      free(buffer) {
        room += buffer.bytes;
        ample.free(buffer);
      },
    };
    // Too little for the first tensor, for later ones, for the step's intermediates.
    for (const memory of [1000, 60_000, 75_000, 200_000]) {
      room = memory;
      const run = train(recipe("too-large"), backend);
      await expect(run).rejects.toThrow(OutOfMemoryError);
      await expect(run).rejects.toThrow(
        /^\d+ bytes, of \d+(; the plan needs .*)?; the run takes 0.\d MiB: weights 0.\d MiB, gradients .*, moments .*, intermediates .*, inputs .*, evaluation .*; lower batch.micro or sequence_length, or set recompute: block$/,
      );
      expect(room).toBe(memory);
    }
  });

  it("an existing run is neither overwritten nor resumed unasked", async () => {
    await expect(train(recipe("plain"), createReferenceBackend())).rejects.toThrow(
      "--resume continues it, --overwrite replaces it",
    );
  });

  it("a directory in which a run is going on is not given to another", async (context) => {
    if (process.platform === "darwin") context.skip("the system has no names that it frees itself");
    let second: unknown;
    const onStep = async ({ step }: StepMetrics) => {
      if (step !== 2) return;
      second = await train(recipe("held"), createReferenceBackend(), { resume: true }).catch((error: unknown) => error);
    };
    await train(recipe("held"), createReferenceBackend(), { onStep });
    expect(second).toMatchObject({ message: expect.stringContaining("another run is writing there at this moment") });
    expect(await curve("held")).toEqual(await curve("plain"));
    await train(recipe("held"), createReferenceBackend(), { resume: true });
  });

  it("overwriting with a recipe that cannot run leaves the old run as it was", async () => {
    const before = await tensorBytes(join(dir, "plain", "model"));
    const wrong = recipe("plain", { data: [{ path: join(dir, "nothing.jsonl") }] });
    await expect(train(wrong, createReferenceBackend(), { overwrite: true })).rejects.toThrow("nothing.jsonl");
    await writeFile(join(dir, "short.txt"), "");
    for (const [name, message] of [
      ["nowhere.txt", "no such file"],
      ["short.txt", /short.txt has \d tokens; at least 2/],
    ] as const) {
      const held = recipe("plain", { eval: { every: 4, perplexity: [join(dir, name)] } });
      await expect(train(held, createReferenceBackend(), { overwrite: true })).rejects.toThrow(message);
    }
    expect(await tensorBytes(join(dir, "plain", "model"))).toEqual(before);
    expect((await curve("plain")).length).toBeGreaterThan(8);
  });

  it("the model to start from, and what is not a run's, are never replaced", async () => {
    const own = recipe("plain", { model: join(dir, "plain", "model") });
    await expect(train(own, createReferenceBackend(), { overwrite: true })).rejects.toThrow("the model to start from");
    const inside = { ...recipe("x"), out: expanded };
    await expect(train(inside, createReferenceBackend(), { overwrite: true })).rejects.toThrow(
      "the model to start from",
    );
    await mkdir(join(dir, "thesis", "model"), { recursive: true });
    const foreign = recipe("thesis");
    await expect(train(foreign, createReferenceBackend(), { overwrite: true })).rejects.toThrow("is not a run");
    await expect(train(foreign, createReferenceBackend(), { resume: true })).rejects.toThrow("is not a run");
  });

  it("a plan that does not fit says what it needs, what there is, and the mend", async () => {
    const huge = recipe("huge", { sequence_length: 4_000_000, batch: { sequences: 1 }, recompute: "none" });
    await expect(train(huge, createReferenceBackend())).rejects.toThrow(
      /needs \d+ bytes .* the reference backend has at most 4294967296; lower batch\.micro or sequence_length, or set/,
    );
    await expect(readdir(join(dir, "huge"))).rejects.toThrow("ENOENT");
  });

  it("weights that are not finite after the last step are not written as a model", async () => {
    const hot = recipe("infinite", {
      optimizer: { lr: 1e39 },
      steps: 1,
      schedule: { name: "constant", warmup: 0 },
      eval: undefined,
    });
    await expect(train(hot, createReferenceBackend())).rejects.toThrow("not finite; no model is written");
    expect(await readdir(join(dir, "infinite"))).not.toContain("model");
  });

  it("a resumed run needs the same recipe", async () => {
    const changed = recipe("plain", { clip: 2, seed: 3, checkpoint: { every: 2 } });
    await expect(train(changed, createReferenceBackend(), { resume: true })).rejects.toThrow("differ in clip, seed:");
  });

  it("trainable: provenance without provenance.json", async () => {
    await expect(train(recipe("none", { model: base }), createReferenceBackend())).rejects.toThrow(
      "needs the model's provenance.json",
    );
  });

  it("a diverging run stops and names the step; its batch and the state before it are saved", async () => {
    const hot = recipe("hot", { optimizer: { lr: 1e38 }, schedule: { name: "constant", warmup: 0 } });
    await expect(train(hot, createReferenceBackend())).rejects.toThrow(TrainingError);
    const done = (await curve("hot")).length;
    const [file] = await readdir(join(dir, "hot", "anomalies"));
    expect(file).toBe(`step-${String(done + 1).padStart(8, "0")}.json`);
    const saved = JSON.parse(await readFile(join(dir, "hot", "anomalies", file!), "utf8")) as {
      problem: string;
      batches: { input_ids: number[][]; targets: number[][] }[];
    };
    expect(saved.problem).toMatch(/is (NaN|Infinity)|nats above/);
    expect(saved.batches.map(({ input_ids: ids }) => ids.map((row) => row.length))).toEqual([
      [16, 16],
      [16, 16],
    ]);
    // In the concatenated text each token but the first is the target of the one before.
    const [ids, targets] = [saved.batches[0]!.input_ids[0]!, saved.batches[0]!.targets[0]!];
    expect(targets.slice(0, -1)).toEqual(ids.slice(1));
    expect(await readdir(join(dir, "hot", "checkpoints"))).toEqual([`step-${String(done).padStart(8, "0")}`]);
  });

  it("anomalies.action skip: leaves out steps whose loss rises too far, goes on, and resumes to the same curve", async () => {
    const changes = {
      steps: 44,
      optimizer: { lr: 1e-6 },
      anomalies: { action: "skip", loss_rise: 0.02 },
      eval: undefined,
      checkpoint: { every: 5 },
    };
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    const { skipped } = await train(recipe("skip", changes), createReferenceBackend(), { warn });
    const lines = await readMetrics(join(dir, "skip", "metrics.jsonl"));
    const left = lines.filter((line) => "skipped" in line);
    expect(left.length).toBe(skipped);
    expect(skipped).toBeGreaterThan(0);
    expect(skipped).toBeLessThan(12);
    expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: 44 }, (_, i) => i + 1));
    expect(warnings).toHaveLength(skipped);
    expect(warnings[0]).toContain("nats above");
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step >= left[0]!.step + 1 && controller.abort();
    const options = { signal: controller.signal, onStep };
    await expect(train(recipe("skip-cut", changes), createReferenceBackend(), options)).rejects.toThrow(
      InterruptedError,
    );
    await train(recipe("skip-cut", changes), createReferenceBackend(), { resume: true });
    expect(await curve("skip-cut")).toEqual(await curve("skip"));
  });

  it("a checkpoint that cannot be written is warned of, and the run goes on to the end", async () => {
    const out = join(dir, "blocked");
    const warnings: string[] = [];
    const onStep = async ({ step }: StepMetrics) => {
      // A file where the checkpoint would have to appear, as a stand-in for a disk that takes nothing more.
      if (step === 2)
        await mkdir(join(out, "checkpoints")).then(() => writeFile(join(out, "checkpoints", "step-00000003"), ""));
    };
    const warn = (message: string) => warnings.push(message);
    await train(recipe("blocked"), createReferenceBackend(), { onStep, warn });
    expect(warnings).toEqual([expect.stringMatching(/checkpoint of step 3 could not be written: .*the run goes on/s)]);
    expect(await curve("blocked")).toEqual(await curve("plain"));
    expect(await readdir(join(out, "checkpoints"))).toContain("step-00000008");
  });
});
