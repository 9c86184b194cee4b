import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@slayer/data";
import { type AngularScores, type DropScores, type GateScores, parseScores, type Scores } from "@slayer/importance";
import { expect, test } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { Interrupted } from "../src/errors.js";
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

test("angular: radians are π times the units of π (1e-12); the last state normed on request; mean over tokens; streamed", async () => {
  const at = await workplace();
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--sequence-length", "24"];
  const scores: AngularScores = await json(...argv);
  expect(scores).toMatchObject({ unit: "pi", token: "last", final: "raw", tokens: scores.samples, settled: null });
  const radians: AngularScores = await json(...argv, "--unit", "radians");
  for (const [l, row] of scores.distances.entries()) {
    for (const [m, d] of row.entries()) {
      expect(radians.distances[l]![m]).toBeCloseTo(Math.PI * d, 12);
      expect(radians.high![l]![m]).toBeCloseTo(Math.PI * scores.high![l]![m]!, 12);
    }
  }
  const normed: AngularScores = await json(...argv, "--final", "normed");
  expect(normed.distances[0]!.slice(0, -1)).toEqual(scores.distances[0]!.slice(0, -1));
  expect(normed.distances[0]!.at(-1)).not.toBe(scores.distances[0]!.at(-1));
  const mean: AngularScores = await json(...argv, "--token", "mean", "--final", "normed");
  expect(mean.tokens).toBe(24 * mean.samples);
  expect(await json(...argv, "--token", "mean", "--final", "normed", "--stream", "--batch", "2")).toEqual(mean);
  expect(await json(...argv, "--stream")).toEqual(scores);
});

test("--until-decided: angular distances and gates stop early too", async () => {
  for (const metric of ["angular", "gate"]) {
    // Models whose blocks differ enough.
    const at = await workplace({ blocks: 2, spread: 1, seed: metric === "gate" ? 3 : 1 });
    const argv = ["importance", at("model"), "--data", at("text.txt"), "--metric", metric, "--sequence-length", "4"];
    const scores: Scores = await json(...argv, "--until-decided", "0.6", "--least", "1");
    expect(scores.settled).toEqual({ level: 0.6, least: 1, decided: true });
    const all: Scores = await json(...argv);
    expect(all.settled).toBe(null);
    expect(scores.samples).toBeLessThan(all.samples);
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

test("interrupted: 130, what was measured lies beside the output, and the same command ends with the same document", async () => {
  const at = await workplace({ blocks: 3 });
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--metric", "removal", "--sequence-length", "4"];
  const whole: DropScores = await json(...argv);
  const out = ["--out", at("scores.json")];
  const interrupt = async (delay: number) => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new Interrupted("SIGINT")), delay);
    const result = await slayer([...argv, ...out, "--backend", "reference"], { signal: controller.signal });
    clearTimeout(timer);
    return result;
  };
  // The delay at which something, but not all, was measured depends on the machine.
  let result = await interrupt(0);
  for (let delay = 10; !existsSync(at("scores.json.partial")) && delay < 5000; delay *= 1.2) {
    expect([result.code, result.stderr]).toEqual([130, expect.stringContaining("interrupted")]);
    result = await interrupt(delay);
  }
  expect(result.code).toBe(130);
  expect(result.stderr).toMatch(
    /interrupted: \d+ samples measured so far are in .*scores\.json\.partial; the same command/,
  );
  expect(existsSync(at("scores.json"))).toBe(false);

  // Another measurement does not go on with it, and does not remove it.
  const other = await slayer([...argv, "--seed", "1", "--sequences", "9", ...out, "--backend", "reference"]);
  expect(other.code).toBe(2);
  expect(other.stderr).toMatch(/unfinished measurement with another data; give the same command/);
  writeFileSync(at("broken.json.partial"), "{");
  const broken = await slayer([...argv, "--out", at("broken.json"), "--backend", "reference"]);
  expect([broken.code, broken.stderr]).toEqual([2, expect.stringContaining("broken.json.partial: not what an")]);

  const resumed = await slayer([...argv, ...out, "--backend", "reference", "--json"]);
  expect(resumed.stderr).toMatch(/going on after \d+ samples/);
  expect(JSON.parse(resumed.stdout)).toEqual(whole);
  expect(JSON.parse(readFileSync(at("scores.json"), "utf8"))).toEqual(whole);
  expect(existsSync(at("scores.json.partial"))).toBe(false);
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
  const headings = ["Drop after removal", "Drop after insertion", "Gate gradient"];
  expect(page.match(/<h2>[^<]+/g)).toEqual(headings.map((heading) => `<h2>${heading}`));
  expect(page.match(/<svg/g)).toHaveLength(3);
  expect(page.match(/fill-opacity="0.22"/g)).toHaveLength(4);
  expect(page).toContain("copied, copy: largest at block");
  expect(page).toContain("averaged: largest at block");

  await json("report", ...files, "--out", at("report.svg"));
  const picture = readFileSync(at("report.svg"), "utf8");
  expect(picture.match(/>\([a-z]\) [^<]+/g)).toEqual(headings.map((heading, i) => `>(${"abc"[i]}) ${heading}`));
  expect(picture.match(/fill-opacity="0.22"/g)).toHaveLength(4);
  // It stands alone: no name of a style sheet, no reference to elsewhere, one root.
  expect(picture).not.toMatch(/var\(|class=|href|url\((?!#)|<style|undefined|NaN/);
  expect(picture).toMatch(/^<svg [^>]*viewBox[^]*<\/svg>\n$/);
});

test("a band that crosses zero spans from its low to its high end", () => {
  const model = { family: "llama" as const, blocks: 2, hiddenSize: 8 };
  const interval = { method: "percentile bootstrap over sequences" as const, confidence: 0.95, resamples: 9, seed: 0 };
  const blocks = [-1, 1].map((value, block) => ({ block, value, low: value - 2, high: value + 2 }));
  const base = { base: 3, baseLow: null, baseHigh: null, settled: null };
  const scores: GateScores = { version: 1, metric: "gate", model, ...base, samples: 9, tokens: 9, blocks, interval };
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
