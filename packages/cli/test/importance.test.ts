import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@slayer/data";
import { type DropScores, type GateScores, parseScores } from "@slayer/importance";
import { expect, test } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { reportPage } from "../src/report/page.js";
import { scratch, slayer } from "./support/slayer.js";

const TEXT = "The quick brown fox jumps over the lazy dog, and 3 + 4 = 7. ".repeat(12);

async function workplace(options: Parameters<typeof writeTinyCheckpoint>[1] = {}) {
  const dir = scratch();
  const at = (name: string): string => join(dir, name);
  await writeTinyCheckpoint(at("model"), options);
  writeFileSync(at("text.txt"), TEXT);
  return at;
}

async function json(...argv: string[]) {
  const { code, stdout, stderr } = await slayer([...argv, "--json", "--quiet", "--backend", "reference"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

const loss = async (model: string, text: string): Promise<number> => {
  const argv = ["perplexity", model, "--data", text, "--sequence-length", "24"];
  return (await json(...argv)).nats_per_token;
};

/** Text of a whole number of windows, so that nothing is left over. */
async function wholeWindows(at: (name: string) => string, length: number): Promise<void> {
  const tokenizer = await Tokenizer.load(at("model"));
  let text = TEXT;
  while (tokenizer.encode(text).length % length !== 0) text = text.slice(0, -1);
  writeFileSync(at("text.txt"), text);
}

test("removal and insertion: what surgery makes of the bf16 base loses as much, by perplexity's count (1e-9 nats)", async () => {
  const at = await workplace({ dtype: "BF16", blocks: 3 });
  await wholeWindows(at, 24);
  const base = await loss(at("model"), at("text.txt"));
  const recipes = {
    removal: (l: number) => `remove: [${l}]`,
    copy: (l: number) => `insert: [{after: ${l}, sources: [${l}], zeroed: none}]`,
    average: (l: number) => `insert: [{after: ${l}, sources: [${l}, ${l + 1}], zeroed: none}]`,
  };
  for (const [change, recipe] of Object.entries(recipes)) {
    const metric = change === "removal" ? ["--metric", "removal"] : ["--metric", "insertion", "--init", change];
    const argv = ["importance", at("model"), "--data", at("text.txt"), ...metric, "--sequence-length", "24"];
    const scores: DropScores = await json(...argv, "--out", at(`${change}.json`));
    expect(parseScores(readFileSync(at(`${change}.json`), "utf8"))).toEqual(scores);
    expect(scores).toMatchObject({ init: change === "removal" ? null : change, unit: "loss", settled: null });
    expect(scores.base).toBeCloseTo(base, 9);
    expect(scores.blocks).toHaveLength(change === "average" ? 2 : 3);
    for (const { block, value } of scores.blocks) {
      writeFileSync(at("recipe.yaml"), recipe(block));
      const expand = ["expand", at("model"), "--strategy", "custom", "--recipe", at("recipe.yaml"), "--overwrite"];
      await json(...expand, "--out", at("new"));
      expect(value).toBeCloseTo((await loss(at("new"), at("text.txt"))) - base, 9);
    }
  }
});

test("removal: streamed or not, the same document; --seed only moves the intervals", async () => {
  const at = await workplace();
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--metric", "removal", "--sequence-length", "24"];
  const scores: DropScores = await json(...argv);
  expect(await json(...argv, "--stream", "--batch", "3")).toEqual(scores);
  expect(scores.init).toBe(null);
  for (const { low, value, high } of scores.blocks) {
    expect(low).toBeLessThanOrEqual(value);
    expect(high).toBeGreaterThanOrEqual(value);
  }
  const other: DropScores = await json(...argv, "--seed", "5");
  expect(other.blocks.map(({ value }) => value)).toEqual(scores.blocks.map(({ value }) => value));
  expect(other.blocks).not.toEqual(scores.blocks);
});

test("items: without a context, the likelihood of the right choice is what perplexity counts of its text (1e-9 nats)", async () => {
  const at = await workplace();
  const rights = ["The quick brown fox", "jumps over", "the lazy dog, and 3 + 4 = 7."];
  const lines = rights.map((right, i) => ({
    context: "",
    choices: ["a cat", right, "Fox"].slice(i % 2),
    answer: 1 - (i % 2),
  }));
  writeFileSync(at("items.jsonl"), lines.map((line) => JSON.stringify(line)).join("\n"));
  let sum = 0;
  for (const right of rights) {
    writeFileSync(at("right.txt"), right);
    const { nats_per_token, tokens, bytes } = await json("perplexity", at("model"), "--data", at("right.txt"));
    sum += (nats_per_token * tokens) / bytes;
  }
  const argv = ["importance", at("model"), "--data", at("items.jsonl"), "--metric", "removal", "--score"];
  const scores: DropScores = await json(...argv, "likelihood", "--batch", "2");
  expect(scores.base).toBeCloseTo(sum / 3, 9);
  expect(scores).toMatchObject({ unit: "likelihood", samples: 3 });
  const accuracy: DropScores = await json(...argv, "accuracy");
  expect([0, 1 / 3, 2 / 3, 1]).toContain(accuracy.base);
  for (const { value, mcnemar } of accuracy.blocks)
    expect(value).toBeCloseTo((mcnemar!.lost - mcnemar!.gained) / 3, 12);
});

test("items: a context and a choice share a space, and the context's tokens are not scored", async () => {
  const at = await workplace();
  const tokens = async (context: string, choice: string) => {
    const item = JSON.stringify({ context, choices: [choice, choice], answer: 0 });
    writeFileSync(at("items.jsonl"), item);
    const argv = [
      "importance",
      at("model"),
      "--data",
      at("items.jsonl"),
      "--metric",
      "removal",
      "--score",
      "likelihood",
    ];
    const { code, stdout } = await slayer([...argv, "--json", "--quiet", "--backend", "reference"]);
    expect(code).toBe(0);
    return JSON.parse(stdout) as DropScores;
  };
  const tokenizer = await Tokenizer.load(at("model"));
  const [whole, context] = [tokenizer.encode("The quick brown fox"), tokenizer.encode("The quick")];
  const plain = await tokens("The quick", "brown fox");
  expect(plain.tokens).toBe(2 * (whole.length - context.length));
  expect((await tokens("The quick ", "brown fox")).base).toBe(plain.base);
  // A choice's own space counts among its bytes.
  const spaced = await tokens("The quick", " brown fox");
  expect(spaced.base * " brown fox".length).toBeCloseTo(plain.base * "brown fox".length, 12);
});

test("--until-decided stops early and says so; the document is that of as many sequences", async () => {
  const at = await workplace({ blocks: 2, spread: 1 });
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--metric", "removal", "--sequence-length", "4"];
  const scores: DropScores = await json(...argv, "--until-decided", "0.6", "--least", "1");
  expect(scores.settled).toEqual({ level: 0.6, least: 1, decided: true });
  const all: DropScores = await json(...argv);
  expect(scores.samples).toBeLessThan(all.samples);
  const shown = await slayer([...argv, "--until-decided", "0.6", "--least", "1", "--backend", "reference"]);
  expect(shown.stdout).toContain("which 1 matter least settled at 60 %");
});

test("gate: the document parses, and --plot draws it", async () => {
  const at = await workplace();
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--metric", "gate", "--sequence-length", "24"];
  const scores: GateScores = await json(...argv, "--out", at("gate.json"), "--plot", at("gate.html"));
  expect(parseScores(readFileSync(at("gate.json"), "utf8"))).toEqual(scores);
  const removal: DropScores = await json(...argv.with(5, "removal"));
  expect([scores.base, scores.samples, scores.tokens]).toEqual([removal.base, removal.samples, removal.tokens]);
  expect(readFileSync(at("gate.html"), "utf8")).toContain("Gate gradient per block");
});

test("report: removals of one kind share a chart with a legend, insertions of copies and averages too", async () => {
  const at = await workplace();
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--sequence-length", "16", "--sequences", "3"];
  const files: string[] = [];
  for (const [name, ...metric] of [
    ["removed", "--metric", "removal"],
    ["copied", "--metric", "insertion", "--init", "copy"],
    ["averaged", "--metric", "insertion", "--init", "average"],
    ["gated", "--metric", "gate"],
  ]) {
    files.push(at(`${name}.json`));
    await json(...argv, ...metric, "--out", at(`${name}.json`));
  }
  await json("report", ...files, "--out", at("report.html"));
  const page = readFileSync(at("report.html"), "utf8");
  expect(page.match(/<h2>Importance: [^<]+/g)).toEqual([
    "<h2>Importance: drop after removal",
    "<h2>Importance: drop after insertion",
    "<h2>Importance: gate gradient",
  ]);
  expect(page.match(/<svg/g)).toHaveLength(3);
  expect(page.match(/fill-opacity="0.22"/g)).toHaveLength(4);
  expect(page).toContain("copied, copy: largest at block");
  expect(page).toContain("averaged, average: largest at block");
});

test("a band that crosses zero spans from its low to its high end", () => {
  const model = { family: "llama" as const, blocks: 2, hiddenSize: 8 };
  const interval = { method: "percentile bootstrap over sequences" as const, confidence: 0.95, resamples: 9, seed: 0 };
  const blocks = [-1, 1].map((value, block) => ({ block, value, low: value - 2, high: value + 2 }));
  const scores: GateScores = { version: 1, metric: "gate", model, base: 3, samples: 9, tokens: 9, blocks, interval };
  const page = reportPage({ title: "t", scores: [{ name: "n", scores }] });
  const [, band] = /<path d="([^"]+)"[^>]*fill-opacity="0.22"/.exec(page)!;
  const points = [...band!.matchAll(/[ML ](-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
  const [left, right] = [points.filter(([x]) => x === points[0]![0]), points.filter(([x]) => x !== points[0]![0])];
  const span = (side: number[][]) => Math.max(...side.map(([, y]) => y!)) - Math.min(...side.map(([, y]) => y!));
  expect(span(left as number[][])).toBeCloseTo(span(right as number[][]), 0);
  // Both bands are 4 wide, and block 1 stands 2 higher than block 0.
  const top = (side: number[][]) => Math.min(...side.map(([, y]) => y!));
  expect((top(left as number[][]) - top(right as number[][])) / span(left as number[][])).toBeCloseTo(0.5, 2);
});
