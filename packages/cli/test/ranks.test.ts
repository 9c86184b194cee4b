import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { UserError } from "../src/errors.js";
import { reportPage } from "../src/report/page.js";
import { blockSums, parseRanks } from "../src/report/ranks.js";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";
import { scratch, slayer } from "./support/slayer.js";

/** As PEFT 0.21.0 saves it, of four blocks (tools/oracle/adalora_fixture.py). */
const peft = readFileSync(
  new URL("../../../test/fixtures/losscurve/adapter/adapter_config.json", import.meta.url),
  "utf8",
);

const adapter = (pattern: object, more: object = {}) =>
  JSON.stringify({ peft_type: "ADALORA", init_r: 3, target_r: 2, total_step: 9, rank_pattern: pattern, ...more });

test("ranks of an adapter that PEFT saved: counted by block and module, in the order of a block", () => {
  const ranks = parseRanks(peft, "a.json")!;
  expect(ranks).toMatchObject({ base: "model", start: 4, target: 2, steps: 12 });
  expect(ranks.modules).toEqual(["q_proj", "v_proj", "down_proj"]);
  // What the fixture's script printed.
  expect(ranks.ranks).toEqual([
    [4, 3, 3, 0],
    [3, 4, 1, 0],
    [2, 1, 2, 1],
  ]);
  expect(blockSums(ranks)).toEqual([9, 8, 6, 1]);
});

test("a block without a module has no rank there; other adapters have none at all", () => {
  const one = { "model.layers.1.mlp.up_proj.lora_E": [true, false], "model.layers.0.x.o_proj.lora_E": [true] };
  expect(parseRanks(adapter(one), "a.json")!.ranks).toEqual([
    [1, null],
    [null, 1],
  ]);
  expect(parseRanks('{"peft_type": "LORA", "rank_pattern": {}}', "a.json")).toBeNull();
  expect(parseRanks(adapter({}, { rank_pattern: null }), "a.json")).toBeNull();
});

test.each([
  ["a block beyond 4096", adapter({ "model.layers.4096.q_proj.lora_E": [true] }), "at most 4096 blocks"],
  ["another name", adapter({ "model.norm": [true] }), "found 'model.norm'"],
  ["numbers", adapter({ "model.layers.0.q_proj.lora_E": [1] }), "rank_pattern"],
  ["nothing", adapter({}), "found 0"],
  ["no JSON", "{", "expected JSON"],
])("ranks: %s is a UserError", (_, text, message) => {
  expect(() => parseRanks(text, "a.json")).toThrow(UserError);
  expect(() => parseRanks(text, "a.json")).toThrow(message);
});

test("the chart: a cell per matrix, a bar per block, numbers for screen readers; hostile names stay text", () => {
  const page = reportPage({ title: "t", ranks: [{ name: "run", ranks: parseRanks(peft, "a.json")! }] });
  expect(page.match(/fill="rgb\(\d+,\d+,\d+\)"/g)!.length).toBeGreaterThanOrEqual(12);
  expect(page).toContain('aria-label="Ranks by block and module. Sums by block: 9, 8, 6, 1"');
  expect(page).toContain("24 of 48 triplets are kept. 71 % of them are in the lower half, blocks 0 to 1.");
  for (const name of ["<script>", "__proto__", "constructor", "\n__proto__\n", 'a"b', "{a|b}"]) {
    const ranks = parseRanks(
      adapter({ [`model.layers.0.${name}.lora_E`]: [true] }, { base_model_name_or_path: name }),
      "",
    )!;
    const hostile = reportPage({ title: name, ranks: [{ name, ranks }] });
    expect(hostile).not.toContain("<script>");
    expect(Object.keys(Object.prototype)).toEqual([]);
  }
});

test("slayer train with AdaLoRA: the chart in the run's report and beside it; slayer report draws it again", async () => {
  const dir = scratch();
  const at = (name: string) => join(dir, name);
  await writeTinyCheckpoint(at("model"), { blocks: 2 });
  writeFileSync(
    at("text.jsonl"),
    tinyTexts(40, 1)
      .map((text) => `${JSON.stringify({ text })}\n`)
      .join(""),
  );
  const recipe = {
    ...{
      model: at("model"),
      data: [{ path: at("text.jsonl") }],
      sequence_length: 16,
      batch: { sequences: 2 },
      steps: 4,
    },
    adapter: { name: "adalora", rank: 3, target_rank: 2, targets: ["q_proj", "up_proj"] },
    out: at("run"),
  };
  writeFileSync(at("recipe.yaml"), JSON.stringify(recipe));
  const trained = await slayer(["train", at("recipe.yaml"), "--json"]);
  expect(trained.code, trained.stderr).toBe(0);
  const picture = readFileSync(at("run/ranks.svg"), "utf8");
  const report = readFileSync(at("run/report.html"), "utf8");
  const ranks = parseRanks(readFileSync(at("run/model/adapter_config.json"), "utf8"), "")!;
  const sums = `Sums by block: ${blockSums(ranks).join(", ")}`;
  expect(blockSums(ranks).reduce((a, b) => a + b, 0)).toBe(2 * 2 * 2);
  for (const text of [picture, report]) expect(text).toContain(sums);
  expect(report).toContain('<a href="ranks.svg">');
  expect(report).toContain("Ranks that AdaLoRA keeps by step: run ends at 8.000");
  expect(report).toContain("Penalty of AdaLoRA&#39;s vectors by step: run ends at");

  const again = await slayer(["report", at("run"), "--out", at("again.html"), "--json"]);
  expect(again.code, again.stderr).toBe(0);
  const { files } = JSON.parse(again.stdout) as { files: string[] };
  expect(files).toEqual([at("run/metrics.jsonl"), at("run/model/adapter_config.json")]);
  const page = readFileSync(at("again.html"), "utf8");
  expect(page).toContain(sums);
  expect(page).toContain("<h2>Ranks: run</h2>");
  expect((await slayer(["report", at("run"), "--out", at("again.svg")])).code).toBe(0);
  expect(readFileSync(at("again.svg"), "utf8")).toContain(sums);

  mkdirSync(at("other/model"), { recursive: true });
  writeFileSync(at("other/model/adapter_config.json"), '{"peft_type": "LORA", "r": 8}');
  const lora = await slayer(["report", at("other"), "--out", at("no.html")]);
  expect([lora.code, lora.stderr]).toEqual([2, expect.stringContaining("found none of them")]);
  const given = await slayer(["report", at("other/model/adapter_config.json"), "--out", at("no.html")]);
  expect([given.code, given.stderr]).toEqual([2, expect.stringContaining("expected an adapter of AdaLoRA's")]);
});
