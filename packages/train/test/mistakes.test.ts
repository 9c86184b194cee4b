import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Checkpoint } from "@slayer/checkpoint";
import { type Backend, createReferenceBackend, OutOfMemoryError } from "@slayer/tensor";
import { InterruptedError, readMetrics, type StepMetrics, train, TrainingError } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tensorBytes, Workplace } from "./support/workplace.js";

let place: Workplace;
let dir: string;
let expanded: string;

beforeAll(async () => {
  place = await Workplace.create();
  ({ dir, expanded } = place);
  await train(recipe("plain"), createReferenceBackend());
});

afterAll(() => place.remove());

const recipe = (out: string, changes: object = {}) => place.recipe(out, changes);
const curve = (out: string) => place.curve(out);

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

  it("a resumed run needs the model that it was started from", async () => {
    const other = join(dir, "other");
    await cp(expanded, other, { recursive: true });
    const controller = new AbortController();
    const first = recipe("moved", { model: other });
    const onStep = () => controller.abort();
    const stopped = train(first, createReferenceBackend(), { signal: controller.signal, onStep });
    await expect(stopped).rejects.toThrow(InterruptedError);
    // One value of one frozen matrix.
    const file = join(other, "model.safetensors");
    const bytes = await readFile(file);
    const checkpoint = await Checkpoint.open(other);
    bytes[checkpoint.info("model.layers.0.mlp.up_proj.weight").begin + 5]! ^= 1;
    await checkpoint.close();
    await writeFile(file, bytes);
    await expect(train(first, createReferenceBackend(), { resume: true })).rejects.toThrow(
      "is not the model that this run was started from",
    );
    await cp(expanded, other, { recursive: true });
    await train(first, createReferenceBackend(), { resume: true });
    expect(await curve("moved")).toEqual(await curve("plain"));
  });

  it("trainable: provenance without provenance.json", async () => {
    await expect(train(recipe("none", { model: place.base }), createReferenceBackend())).rejects.toThrow(
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
