import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataError } from "@slayer/data";
import { createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, InterruptedError, readMetrics, type StepMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-streaming-"));
  await writeTinyCheckpoint(join(dir, "base"));
  for (const [i, name] of ["math", "code"].entries()) {
    const lines = tinyTexts(20, 2 + i).map((text) => `${JSON.stringify({ text })}\n`);
    await writeFile(join(dir, `${name}.jsonl`), lines.join(""));
  }
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const recipe = (out: string, changes: object = {}) =>
  checkRecipe(
    {
      model: join(dir, "base"),
      trainable: ["model.layers.3"],
      data: ["math", "code"].map((name, i) => ({ path: join(dir, `${name}.jsonl`), weight: 3 - 2 * i })),
      ...{ sequence_length: 16, batch: { sequences: 4, micro: 2 }, steps: 6, optimizer: { lr: 0.02 } },
      ...{ packing: "documents", streaming: true, out: join(dir, out) },
      ...changes,
    },
    "test recipe",
  );

async function curve(out: string) {
  return (await readMetrics(join(dir, out, "metrics.jsonl"))).map((line) => {
    const { seconds: _, tokens_per_second: __, ...rest } = line as StepMetrics;
    return rest;
  });
}

describe("streaming", () => {
  it("trains, and keeps no tokens; interrupted and resumed the curve is the same", async () => {
    const { data } = await train(recipe("whole"), createReferenceBackend());
    expect(data).toMatchObject([
      { documents: null, tokens: null, weight: 3 },
      { documents: null, tokens: null, weight: 1 },
    ]);
    expect(await readdir(join(dir, "whole"))).not.toContain("tokens");
    const losses = (await curve("whole")).map(({ loss }) => loss);
    expect(losses).toHaveLength(6);
    expect(losses.every(Number.isFinite)).toBe(true);

    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 2 && controller.abort();
    const cut = train(recipe("cut"), createReferenceBackend(), { signal: controller.signal, onStep });
    await expect(cut).rejects.toThrow(InterruptedError);
    await train(recipe("cut"), createReferenceBackend(), { resume: true });
    expect(await curve("cut")).toEqual(await curve("whole"));
  });

  it("data that is bad from the beginning is an error before an old run is given up", async () => {
    await train(recipe("old"), createReferenceBackend());
    const wrong = recipe("old", { data: [{ path: join(dir, "math.jsonl"), text: "content" }] });
    await expect(train(wrong, createReferenceBackend(), { overwrite: true })).rejects.toThrow('no field "content"');
    expect(await curve("old")).toEqual(await curve("whole"));
  });

  it("data that turns out bad in the middle is an error, after the steps before it are saved", async () => {
    // More than is read ahead; then a line that is no record, and none of those are allowed.
    const many = Array.from({ length: 600 }, (_, i) => `${JSON.stringify({ text: `no ${i}` })}\n`);
    await writeFile(join(dir, "turns.jsonl"), `${many.join("")}not JSON\n`);
    const changes = { data: [{ path: join(dir, "turns.jsonl") }], bad_records: 0, steps: 10_000 };
    const run = recipe("turns", { ...changes, batch: { sequences: 64 } });
    await expect(train(run, createReferenceBackend())).rejects.toThrow(DataError);
    const steps = (await curve("turns")).length;
    expect(steps).toBeGreaterThan(0);
    expect(await readdir(join(dir, "turns", "checkpoints"))).toEqual([`step-${String(steps).padStart(8, "0")}`]);
  });

  it.each([
    ["conversations", { stage: "sft", packing: undefined }, "streaming belongs to stage: cpt"],
    ["whole documents", { packing: "whole" }, "needs the lengths of all documents"],
    ["epochs", { steps: undefined, epochs: 1 }, "give steps or tokens"],
    ["a held-out share", { held_out: 0.1 }, "held_out is not built"],
    ["a cache", { token_cache: "tokens" }, "leave token_cache out"],
  ])("refuses %s", (_, changes, message) => {
    expect(() => recipe("refused", changes)).toThrow(message);
  });
});
