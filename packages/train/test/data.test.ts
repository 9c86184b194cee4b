import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isHeldOut } from "@slayer/data";
import { createReferenceBackend } from "@slayer/tensor";
import {
  checkRecipe,
  InterruptedError,
  previewData,
  readMetrics,
  type Recipe,
  type StepMetrics,
  train,
  type TrainOptions,
} from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

let dir: string;
const lines = (records: readonly object[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join("");
const math = tinyTexts(80, 1);
const code = tinyTexts(30, 2);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-train-data-"));
  await writeTinyCheckpoint(join(dir, "model"), { blocks: 2 });
  await mkdir(join(dir, "math"));
  await writeFile(join(dir, "math", "a.jsonl"), lines(math.slice(0, 40).map((text) => ({ text }))));
  await writeFile(join(dir, "math", "b.jsonl"), lines(math.slice(40).map((text) => ({ text }))));
  await writeFile(join(dir, "code.jsonl"), lines(code.map((content) => ({ content }))));
  const talk = (i: number): object => ({ instruction: `add ${i} and 1`, output: `it is ${i + 1}` });
  await writeFile(join(dir, "chat.jsonl"), lines(Array.from({ length: 40 }, (_, i) => talk(i))));
  const template =
    "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
  await writeFile(join(dir, "chat.jinja"), template);
});
afterAll(() => rm(dir, { recursive: true }));

const base = {
  trainable: "all",
  sequence_length: 24,
  batch: { sequences: 4, micro: 2 },
  steps: 10,
  optimizer: { lr: 0.01 },
};
const recipe = (out: string, changes: object): Recipe =>
  checkRecipe({ ...base, model: join(dir, "model"), out: join(dir, out), ...changes }, "test recipe");
const mixed = {
  data: [
    { path: "math/*.jsonl", weight: 5 },
    { path: "code.jsonl", text: "content", weight: 2 },
  ],
  packing: "documents",
  held_out: 0.2,
  eval: { every: 5 },
};
const sft = { stage: "sft", data: [{ path: "chat.jsonl" }], chat_template: "chat.jinja", sequence_length: 64 };
const run = (which: Recipe, options: TrainOptions = {}) =>
  train(which, createReferenceBackend(), { directory: dir, ...options });

async function curve(out: string): Promise<object[]> {
  return (await readMetrics(join(dir, out, "metrics.jsonl"))).map((line) => {
    const { seconds: _, tokens_per_second: __, ...rest } = line as StepMetrics;
    return rest;
  });
}

describe("sources by weight, from patterns beside the recipe", () => {
  it("keep their shares and count their epochs; what is held out by hash is evaluated and not trained on", async () => {
    const { data } = await run(recipe("mixed", mixed));
    const heldOut = (texts: string[]): number => texts.filter((text) => isHeldOut(text, 0.2)).length;
    expect(data).toMatchObject([
      { path: "math/*.jsonl", weight: 5, documents: 80 - heldOut(math), heldOutDocuments: heldOut(math) },
      { path: "code.jsonl", weight: 2, documents: 30 - heldOut(code), heldOutDocuments: heldOut(code) },
    ]);
    // 10 steps of 4 sequences: 29 and 11, or one sequence beside.
    const given = data.map(({ epochs, tokens, documents }) => (epochs * (tokens! + documents!)) / 24);
    expect(given.map((n) => Math.round(n)).reduce((a, b) => a + b)).toBe(40);
    expect(Math.abs(given[0]! - (40 * 5) / 7)).toBeLessThanOrEqual(1);
    const evals = (await readMetrics(join(dir, "mixed", "metrics.jsonl"))).filter((line) => "eval" in line);
    expect(evals.map((line) => Object.keys(line.eval))).toEqual(
      Array(2).fill(["held out of math/*.jsonl", "held out of code.jsonl"]),
    );
  });

  it("a few bad records are told and left out; too many are an error that names the first", async () => {
    const warnings: string[] = [];
    await writeFile(join(dir, "bad.jsonl"), lines([...math.map((text) => ({ text })), {}]));
    const some = { data: [{ path: "bad.jsonl" }], steps: 1 };
    await run(recipe("some", { ...some, bad_records: 0.02 }), { warn: (message) => warnings.push(message) });
    expect(warnings).toEqual([`bad.jsonl: 1 of 81 records left out: ${join(dir, "bad.jsonl")}:81: no field "text"`]);
    await expect(run(recipe("many", some))).rejects.toThrow(
      /bad\.jsonl:81: 1 of 81 records cannot be read, more than a share of 0\.01/,
    );
  });
});

describe("held-out files", () => {
  const held = (out: string, entry: unknown, changes: object = {}): Recipe =>
    recipe(out, { data: [{ path: "math/a.jsonl" }], steps: 1, eval: { every: 1, perplexity: [entry] }, ...changes });

  it("may have their text in another field; records without it are told, or too many", async () => {
    await run(held("held", { path: "code.jsonl", text: "content" }));
    const line = (await readMetrics(join(dir, "held", "metrics.jsonl"))).find((metrics) => "eval" in metrics);
    expect(Object.keys(line!.eval)).toEqual(["code.jsonl"]);
    await expect(run(held("held field", "code.jsonl"))).rejects.toThrow(
      /code\.jsonl:1: 30 of 30 records cannot be read, more than a share of 0\.01; the first: no field "text"/,
    );
    await writeFile(join(dir, "some.jsonl"), lines([...math.map((text) => ({ text })), {}]));
    const warnings: string[] = [];
    const some = held("held some", "some.jsonl", { bad_records: 0.02 });
    await run(some, { warn: (message) => warnings.push(message) });
    expect(warnings).toEqual([expect.stringContaining("some.jsonl: 1 of 81 records left out")]);
  });
});

describe("held-out conversations", () => {
  it("their loss is that of a training step over all of them, to 1e-5 of it (sums in another order); memory as predicted", async () => {
    const one = await run(recipe("one step", { ...sft, steps: 1 }));
    const sequences = Math.round(4 / one.data[0]!.epochs);
    const all = { batch: { sequences, micro: 1 }, steps: 1, optimizer: { lr: 0 } };
    const held = { every: 1, conversations: ["chat.jsonl"] };
    const result = await run(recipe("all at once", { ...sft, ...all, eval: held }));
    const metrics = await readMetrics(join(dir, "all at once", "metrics.jsonl"));
    const loss = metrics.find((line) => "eval" in line)!.eval["chat.jsonl"]!;
    expect(Math.abs(loss / result.finalLoss! - 1)).toBeLessThan(1e-5);
    expect(result.measured.memory).toBe(result.predicted.memory.total);
    expect(result.predicted.memory.evaluation).toBeGreaterThan(0);
  });
});

describe("warned of", () => {
  it.each([
    [
      "epochs that are less than a step",
      { data: [{ path: "code.jsonl", text: "content" }], steps: undefined, epochs: 0.01 },
      /^0\.01 epochs are \d\.\d sequences, fewer than the 4 of a step; one step is made$/,
    ],
    [
      "a warmup longer than the run",
      { data: [{ path: "math/a.jsonl" }], steps: 1, schedule: { warmup: 3 } },
      /^schedule\.warmup: 3 steps are more than the run's 1;/,
    ],
  ])("%s", async (name, changes, message) => {
    const warnings: string[] = [];
    await run(recipe(name, changes), { warn: (warning) => warnings.push(warning) });
    expect(warnings).toEqual([expect.stringMatching(message)]);
  });
});

describe("exact resume", () => {
  it.each([
    ["mixed sources", mixed],
    ["conversations", sft],
  ])("%s: stopped at any step and resumed, the curve is the uninterrupted run's bit for bit", async (name, changes) => {
    const whole = `${name} whole`;
    const { data } = await run(recipe(whole, changes));
    for (const stopAfter of [1, 4, 9]) {
      const out = `${name} ${stopAfter}`;
      const controller = new AbortController();
      const onStep = ({ step }: StepMetrics): unknown => step === stopAfter && controller.abort();
      const stopped = run(recipe(out, changes), { signal: controller.signal, onStep });
      await expect(stopped).rejects.toThrow(InterruptedError);
      const resumed = await run(recipe(out, changes), { resume: true });
      expect(await curve(out)).toEqual(await curve(whole));
      expect(resumed.data).toEqual(data);
    }
  });

  it("data that has changed meanwhile is an error", async () => {
    const file = join(dir, "changing.jsonl");
    await writeFile(file, lines(math.map((text) => ({ text }))));
    const changing = { data: [{ path: "changing.jsonl" }], checkpoint: { every: 5 } };
    await run(recipe("changing", changing));
    await writeFile(file, lines(math.slice(1).map((text) => ({ text }))));
    await expect(run(recipe("changing", changing), { resume: true })).rejects.toThrow(
      /the corpora and their weights changed/,
    );
  });
});

describe("conversations", () => {
  it("are shown as they are trained on: the assistant's text and its end are scored, nothing else", async () => {
    const [{ examples } = { examples: [] }] = await previewData(recipe("shown", sft), 2, { directory: dir });
    expect(examples).toHaveLength(2);
    const text = (isScored: boolean): string =>
      examples[1]!.tokens
        .filter((token) => token.isScored === isScored)
        .map((token) => token.text)
        .join("");
    expect([text(false), text(true)]).toEqual(["user: add 1 and 1</s>assistant: ", "it is 2</s>"]);
  });

  it("lower the loss of what they teach; the model is given the template that it has learnt", async () => {
    const { finalLoss, model } = await run(recipe("learns", { ...sft, steps: 40 }));
    const [first] = (await curve("learns")) as StepMetrics[];
    expect(finalLoss).toBeLessThan(first!.loss / 2);
    const template = await readFile(join(dir, "chat.jinja"), "utf8");
    expect(await readFile(join(model, "chat_template.jinja"), "utf8")).toBe(template);
  });
});
