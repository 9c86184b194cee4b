import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createReferenceBackend } from "@slayer/tensor";
import { InterruptedError, readMetrics, type StepMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tensorBytes, Workplace } from "./support/workplace.js";

let place: Workplace;
let dir: string;
let expanded: string;

beforeAll(async () => {
  place = await Workplace.create();
  ({ dir, expanded } = place);
});

afterAll(() => place.remove());

const recipe = (out: string, changes: object = {}) => place.recipe(out, changes);
const curve = (out: string) => place.curve(out);

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
