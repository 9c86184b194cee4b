import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfig } from "@slayer/checkpoint";
import { parseScores } from "@slayer/importance";
import { planLlamaPro, planSlayer } from "@slayer/surgery";
import { expect, test } from "vitest";
import { blockDiagram } from "../src/report/block-diagram.js";
import { parseMetrics } from "../src/report/metrics.js";
import { reportPage } from "../src/report/page.js";
import { scratch, slayer } from "./support/slayer.js";

const HOSTILE = `<script>alert("x")</script>'"&<img src=x onerror=alert(1)>]]></style>`;

const llama2 = parseConfig({ model_type: "llama", num_hidden_layers: 32 }, "config.json");

/** Distances that grow with the length of the run, block 2 of 4 moving least. */
function scores(bands: boolean) {
  const move = [0.3, 0.2, 0.05, 0.1];
  const distances = Array.from({ length: 5 }, (_, l) =>
    Array.from({ length: 5 }, (__, m) => {
      const [from, to] = [Math.min(l, m), Math.max(l, m)];
      return move.slice(from, to).reduce((a, b) => a + b, 0);
    }),
  );
  const runs = [1, 2, 3, 4].map((n) => {
    const starts = Array.from({ length: 5 - n }, (_, l) => l);
    const start = starts.reduce((best, l) => (distances[l]![l + n]! < distances[best]![best + n]! ? l : best));
    return { n, start, value: distances[start]![start + n]! };
  });
  const blocks = distances.slice(0, 4).map((row, block) => {
    const value = row[block + 1]!;
    return { block, value, low: bands ? value - 0.02 : null, high: bands ? value + 0.02 : null };
  });
  const interval = { method: "percentile bootstrap over sequences", confidence: 0.95, resamples: 10, seed: 0 };
  const model = { family: "llama", blocks: 4, hiddenSize: 8 };
  const rest = { version: 1, metric: "angular", unit: "pi", token: "last", final: "raw", samples: 2, tokens: 2 };
  const spread = (by: number) => distances.map((row, l) => row.map((d, m) => (l === m ? 0 : d + by)));
  const [low, high] = bands ? [spread(-0.02), spread(0.02)] : [null, null];
  const withInterval = runs.map((run) => ({
    ...run,
    low: low?.[run.start]![run.start + run.n] ?? null,
    high: high?.[run.start]![run.start + run.n] ?? null,
  }));
  const measured = { distances, low, high, blocks, interval, runs: withInterval, settled: null };
  return parseScores(JSON.stringify({ ...rest, model, ...measured }));
}

/** Removal, insertion and gates of three blocks, as scores.json has them. */
const drops = (["removal", "insertion", "gate"] as const).map((metric) => {
  const over = metric === "gate" ? "percentile bootstrap over sequences" : "paired percentile bootstrap over sequences";
  const blocks = [0.5, -0.1, 0.2].map((value, block) => ({ block, value, low: value - 0.2, high: value + 0.2 }));
  const rest = metric === "gate" ? {} : { init: metric === "removal" ? null : "copy", unit: "loss" };
  const model = { family: "llama", blocks: 3, hiddenSize: 8 };
  const interval = { method: over, confidence: 0.95, resamples: 10, seed: 0 };
  const base = { base: 3, baseLow: 2.9, baseHigh: 3.1, settled: null };
  return parseScores(
    JSON.stringify({ version: 1, metric, model, ...base, samples: 2, tokens: 9, blocks, interval, ...rest }),
  );
});

const comparison = (name: string) => ({
  date: name,
  machine: name,
  command: name,
  base: { [name]: name, parameters: 1_234_567 },
  runs: [
    {
      name,
      recipe: name,
      total_parameters: 2_000_000,
      trainable_parameters: 500_000,
      seconds: 75,
      domain_before: 3.5,
      domain_after: 2.25,
      general_before: 2.5,
      general_after: 2.625,
    },
  ],
  notes: [name],
});

const step = (n: number) =>
  JSON.stringify({ step: n, loss: 3 / n, lr: 1e-3, grad_norm: 1, tokens: 100 * n, tokens_per_second: 9, seconds: 60 });
const metrics = (key: string): string =>
  `${step(1)}\n${step(2)}\n${JSON.stringify({ step: 2, eval: { [key]: 1.5 } })}\n${step(3)}\n{"step": 4, "lo`;

/** A page with everything on it, all its free texts being `name`. */
function page(name: string): string {
  return reportPage({
    title: name,
    comparisons: [{ name, ...comparison(name) }],
    scores: [{ name, scores: scores(true) }, ...drops.map((one) => ({ name, scores: one }))],
    surgeries: [{ name, ...planSlayer(llama2), recipe: { name, [name]: name }, notes: [name] }],
    runs: [{ name, ...parseMetrics(metrics(name), "metrics.jsonl") }],
  });
}

/** Names of all elements, after checking that every one is closed where it should be. */
function elements(text: string): Set<string> {
  const names = new Set<string>();
  const open: string[] = [];
  for (const [, slash, name, rest] of text.matchAll(/<(\/?)([a-zA-Z][\w-]*)((?:[^<>"]|"[^"]*")*)>/g)) {
    if (slash === "/") expect(open.pop()).toBe(name);
    else if (name !== "meta" && !rest!.endsWith("/")) open.push(name!);
    names.add(name!);
  }
  expect(open).toEqual([]);
  return names;
}

test.each([HOSTILE, "__proto__", "constructor", "a\u0000b\u202E", "\n__proto__\n", "{b}|{a|x}", "plain"])(
  "a page whose every text is %j has only the elements of a page with plain texts",
  (name) => {
    const plain = elements(page("plain"));
    expect(plain).not.toContain("script");
    expect(plain).not.toContain("img");
    const hostile = page(name);
    expect(elements(hostile)).toEqual(plain);
    expect(hostile).not.toMatch(/<script|onerror=alert\(1\)>/);
    expect(hostile).not.toContain("\u0000");
    expect(Object.keys(Object.prototype)).toEqual([]); // nothing was written through a key of that name
    expect(Object.keys(Object)).toEqual([]);
  },
);

test("the page loads nothing: no address but the SVG namespaces, no script, and a policy that forbids both", () => {
  const text = page("plain");
  const addresses = new Set(text.match(/\w+:\/\/[^"'\s)]+/g));
  for (const namespace of ["http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"]) addresses.delete(namespace);
  expect([...addresses]).toEqual([]);
  expect(text).not.toMatch(/<link|<script|@import|url\((?!#)/);
  expect(text).toContain(`content="default-src 'none'; style-src 'unsafe-inline'`);
});

test("every chart has a name for screen readers, with the numbers that matter", () => {
  const text = page("plain");
  const svgs = text.match(/<svg/g)!.length;
  expect(text.match(/<svg[^>]* role="img" aria-label="[^"]+"/g)).toHaveLength(svgs);
  expect(text).toContain("largest at block 0 (0.300), smallest at block 2 (0.050)");
  expect(text).toContain(
    "Drop after removal per block. plain: largest at block 0 (+0.500), smallest at block 1 (−0.100)",
  );
  expect(text).toContain("plain: domain −1.250, general +0.125");
  expect(text).toContain("plain ends at 1.000");
});

test("the table: numbers as in the file, right-aligned", () => {
  const cells = [...page("run 1").matchAll(/<td class="number">([^<]*)<\/td>/g)].map((m) => m[1]);
  expect(cells.slice(0, 7)).toEqual([
    "2,000,000",
    "500,000 (25 %)",
    "1 min 15 s",
    "3.500 → 2.250",
    "−1.250",
    "2.500 → 2.625",
    "+0.125",
  ]);
});

test("heat map: one cell per run of blocks, none beyond the depth; the band only where there are intervals", () => {
  const L = 4;
  const cellsOf = (text: string): number => text.match(/fill="rgb\(\d+,\d+,\d+\)"(?! fill-opacity="0")/g)!.length;
  const withBand = reportPage({ title: "t", scores: [{ name: "n", scores: scores(true) }] });
  const without = reportPage({ title: "t", scores: [{ name: "n", scores: scores(false) }] });
  expect(cellsOf(without)).toBe((L * (L + 1)) / 2);
  expect(withBand.match(/fill-opacity="0.22"/g)).toHaveLength(1);
  expect(without).not.toContain('fill-opacity="0.22"');
  expect(without).toContain("One sequence only");
});

test("block diagram of slayer on 32 blocks: 38 new, 3 struck out, an arrow per source", () => {
  const plan = planSlayer(llama2);
  const { text } = blockDiagram(plan, "title");
  const count = (pattern: RegExp): number => (text.match(pattern) ?? []).length;
  expect(count(/<rect class="original"/g)).toBe(29);
  expect(count(/<rect class="base"/g)).toBe(29);
  expect(count(/<rect class="inserted"/g)).toBe(8);
  expect(count(/<rect class="updated"/g)).toBe(1);
  expect(count(/<rect class="removed"/g)).toBe(3);
  expect(count(/class="arrow/g)).toBe(29 + 8 * 2 + 2);
});

test("block diagram: a base block stands straight above its copy", () => {
  const { text } = blockDiagram(planLlamaPro(llama2), "title");
  const straight = [...text.matchAll(/class="arrow original" d="M([\d.]+) [\d.]+C.* ([\d.]+) [\d.]+"/g)];
  const paths = text.match(/class="arrow original" d="[^"]+"/g)!;
  expect(paths).toHaveLength(32);
  for (const path of paths) {
    const xs = [...path.matchAll(/[MC ](\d+(?:\.\d+)?) \d+(?:\.\d+)?(?=[C" ])/g)].map((m) => m[1]);
    expect(new Set(xs).size).toBe(1);
  }
  expect(straight.length).toBeGreaterThan(0);
});

test("metrics: a line cut short at the end is left out, a wrong line before it is refused by number", () => {
  const { steps, evals } = parseMetrics(metrics("held"), "m.jsonl");
  expect(steps.map(({ loss }) => loss)).toEqual([3, 1.5, 1]);
  expect(evals).toEqual([{ step: 2, eval: { held: 1.5 } }]);
  expect(() => parseMetrics(`${step(1)}\nnonsense\n`, "m.jsonl")).toThrow(/m\.jsonl:2: expected JSON/);
  expect(() => parseMetrics(`{"step": 1, "loss": "low"}\n`, "m.jsonl")).toThrow(/m\.jsonl:1: .*loss/s);
});

test("report finds runs in directories below, names them by their path, and lists what it read", async () => {
  const dir = scratch();
  for (const run of ["runs/slayer", "runs/full"]) {
    mkdirSync(join(dir, run), { recursive: true });
    writeFileSync(join(dir, run, "metrics.jsonl"), metrics("held-out prose"));
  }
  writeFileSync(join(dir, "quickstart.json"), JSON.stringify(comparison("a run")));
  writeFileSync(join(dir, "plan.json"), JSON.stringify(planLlamaPro(llama2)));
  const { code, stdout } = await slayer([
    "report",
    dir,
    "--out",
    join(dir, "report.html"),
    "--title",
    "Mine",
    "--json",
  ]);
  expect(code).toBe(0);
  const files = ["quickstart.json", "plan.json", "runs/full/metrics.jsonl", "runs/slayer/metrics.jsonl"];
  expect(JSON.parse(stdout)).toEqual({ out: join(dir, "report.html"), files: files.map((file) => join(dir, file)) });
  const text = readFileSync(join(dir, "report.html"), "utf8");
  expect(text).toContain("<title>Mine</title>");
  expect(text).toContain("Held-out loss, held-out prose");
  expect(text).toContain('<th scope="row">runs/slayer</th>');
  expect(text).toContain("32 blocks become 40");
});

test("runs of one name are told apart by their directories", async () => {
  const dir = scratch();
  for (const run of ["a/run", "b/run"]) {
    mkdirSync(join(dir, run), { recursive: true });
    writeFileSync(join(dir, run, "metrics.jsonl"), metrics("held"));
  }
  const out = join(dir, "report.html");
  expect((await slayer(["report", join(dir, "a/run"), join(dir, "b/run"), "--out", out])).code).toBe(0);
  const text = readFileSync(out, "utf8");
  for (const run of ["a/run", "b/run"]) expect(text).toContain(`<th scope="row">${join(dir, run)}</th>`);
});

test("--compare: the other runs' losses beside that run's, and how far they are from it, step by step", async () => {
  const dir = scratch();
  const at = (name: string) => join(dir, name);
  const line = (n: number, loss: number) => step(n).replace(/"loss":[^,]+/, `"loss":${loss}`);
  const write = (run: string, losses: number[], first = 1) => {
    mkdirSync(at(run), { recursive: true });
    writeFileSync(at(`${run}/metrics.jsonl`), losses.map((loss, i) => `${line(first + i, loss)}\n`).join(""));
  };
  write("runs/bf16", [4, 3.25, 2], 2);
  write("runs/f32", [5, 4.125, 3, 2]);
  write("empty", []);
  const report = (...options: string[]) => slayer(["report", ...options, "--out", at("report.html"), "--overwrite"]);
  const compared = await report(at("runs"), "--compare", at("runs/f32"), "--json");
  expect(compared.code, compared.stderr).toBe(0);
  const { files } = JSON.parse(compared.stdout) as { files: string[] };
  expect(files).toEqual([at("runs/f32/metrics.jsonl"), at("runs/bf16/metrics.jsonl")]); // once each
  const text = readFileSync(at("report.html"), "utf8");
  expect(text).toContain("Training loss by step: f32 ends at 2.000, bf16 ends at 2.000");
  expect(text).toContain("Training loss less that of f32 by step: bf16 ends at 0.000");
  expect(text).toContain(
    "bf16 and f32: 3 of 4 steps in common; losses differ by 0.13 nats on average, by 0.25 at most (step 3).",
  );
  await report(at("runs"));
  expect(readFileSync(at("report.html"), "utf8")).not.toContain("less that of");

  for (const [options, message] of [
    [[at("runs/f32"), "--compare", at("runs/f32")], "expected another training run"],
    [[at("runs/f32"), "--compare", at("empty")], "expected optimizer steps"],
    [[at("runs/f32"), "--compare", at("nowhere")], "nowhere"],
    [[at("runs/f32"), "--compare", at("report.html")], "expected a training run's metrics.jsonl"],
  ] as const) {
    const { code, stderr } = await report(...options);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  }
});

test("report: what it cannot read exits 2 and writes nothing", async () => {
  const dir = scratch();
  const out = join(dir, "report.html");
  const cases: [string, string, RegExp][] = [
    ["other.json", "{}", /other\.json: expected the content of one of/],
    ["broken.json", "{", /broken\.json: expected JSON/],
    ["scores.json", '{"metric": "angular"}', /scores\.json: version/],
    ["quickstart.json", '{"runs": [{}]}', /quickstart\.json: /],
    ["provenance.json", '{"version": 1}', /provenance\.json/],
  ];
  for (const [name, content, message] of cases) {
    writeFileSync(join(dir, name), content);
    const { code, stdout, stderr } = await slayer(["report", join(dir, name), "--out", out]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  }
  const empty = join(dir, "empty");
  mkdirSync(empty);
  const nothing = await slayer(["report", empty, "--out", out]);
  expect([nothing.code, nothing.stderr]).toEqual([2, expect.stringContaining("found none of them")]);
  const huge = { index: 0, kind: "original", sources: [{ block: 2 ** 40, weight: 1 }], zeroed: [] };
  const provenance = {
    version: 1,
    recipe: {},
    base: { tensors: {} },
    tensors: {},
    preservesFunction: false,
    blocks: [huge],
  };
  writeFileSync(join(dir, "provenance.json"), JSON.stringify(provenance));
  const deep = await slayer(["report", join(dir, "provenance.json"), "--out", out]);
  expect([deep.code, deep.stderr]).toEqual([2, expect.stringContaining("expected at most 4096 blocks")]);
  expect(() => readFileSync(out)).toThrow(/ENOENT/);
});
