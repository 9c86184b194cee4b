import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkPlan, parseCustomSurgery, parsePlan, planCustom, PlanError, planRecipe } from "@slayer/surgery";
import { tinyConfig } from "./tiny.js";

const ZEROED = ["self_attn.o_proj.weight", "mlp.down_proj.weight"];
const config = tinyConfig({ num_hidden_layers: 4 });
const plan = (yaml: string): ReturnType<typeof planCustom> => planCustom(config, parseCustomSurgery(yaml, "s.yaml"));

test("every feature at once: the whole document", () => {
  const yaml = `
    remove: [3]
    insert:
      - {after: -1, sources: [0]}                     # a zeroed copy below everything
      - {after: 1, sources: [1, 2], zeroed: none}     # a mean
      - after: 1                                      # a second one, after it
        sources: [{block: 0, weight: 0.75}, {block: 3, weight: 0.5}]
        zeroed: [mlp.up_proj.weight]
    update:
      - {block: 2, sources: [2, 3]}
    train: [0]
  `;
  const half = (block: number) => ({ block, weight: 0.5 });
  expect(plan(yaml)).toEqual({
    version: 1,
    recipe: { name: "custom" },
    baseBlocks: 4,
    blocks: [
      { index: 0, kind: "inserted", sources: [{ block: 0, weight: 1 }], zeroed: ZEROED },
      { index: 1, kind: "updated", sources: [{ block: 0, weight: 1 }], zeroed: [] },
      { index: 2, kind: "original", sources: [{ block: 1, weight: 1 }], zeroed: [] },
      { index: 3, kind: "inserted", sources: [half(1), half(2)], zeroed: [] },
      {
        index: 4,
        kind: "inserted",
        sources: [
          { block: 0, weight: 0.75 },
          { block: 3, weight: 0.5 },
        ],
        zeroed: ["mlp.up_proj.weight"],
      },
      { index: 5, kind: "updated", sources: [half(2), half(3)], zeroed: [] },
    ],
    preservesFunction: false,
    trainable: { blocks: [0, 1, 3, 4, 5] },
    notes: ["weights of the block inserted after 1 add up to 1.25, not 1"],
  });
});

test("llama-pro and solar said block by block are the same blocks", () => {
  const custom = (json: object, depth: number) =>
    planRecipe(
      "custom",
      tinyConfig({ num_hidden_layers: depth }),
      {},
      { custom: parseCustomSurgery(JSON.stringify(json)) },
    );
  const pro = planRecipe("llama-pro", tinyConfig());
  const insert = [3, 7].map((after) => ({ after, sources: [after] }));
  expect(custom({ insert }, 8)).toMatchObject({
    blocks: pro.blocks,
    preservesFunction: true,
    trainable: pro.trainable,
  });
  const solar = planRecipe("solar", tinyConfig());
  const again = [2, 3, 4, 5].map((source) => ({ after: 5, sources: [source], zeroed: "none" }));
  expect(custom({ insert: again, train: "all" }, 8).blocks).toEqual(solar.blocks);
});

test("originals that are trained keep the function, as long as all others are zeroed", () => {
  expect(plan("train: all").preservesFunction).toBe(true);
  expect(plan("train: all").trainable.blocks).toEqual([0, 1, 2, 3]);
  expect(plan("insert: [{after: 1, sources: [0, 3]}]\ntrain: [2]").preservesFunction).toBe(true);
  expect(plan("insert: [{after: 1, sources: [0, 3], zeroed: none}]").preservesFunction).toBe(false);
  expect(plan("update: [{block: 1, sources: [0]}]").preservesFunction).toBe(false);
});

test("the README's example is a surgery of 32 blocks", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const yaml = /```yaml\n(.*?)```/s.exec(readme)?.[1] ?? "";
  const { blocks } = planCustom(tinyConfig({ num_hidden_layers: 32 }), parseCustomSurgery(yaml));
  const made = blocks.filter(({ kind }) => kind !== "original");
  expect(made.map(({ index, sources }) => [index, sources.map(({ block }) => block)])).toEqual([
    [4, [3, 4]],
    [9, [7, 8]],
    [10, [8]],
    [33, [30, 31]],
  ]);
});

test("biases belong to the branches", () => {
  const biased = tinyConfig({ attention_bias: true, mlp_bias: true });
  const zeroed = planCustom(biased, parseCustomSurgery("insert: [{after: 0, sources: [0]}]")).blocks[1]?.zeroed ?? [];
  expect(zeroed.toSorted()).toEqual([...ZEROED, "self_attn.o_proj.bias", "mlp.down_proj.bias"].toSorted());
});

describe("a bad surgery gets a PlanError that says where", () => {
  const line = (i: number): string =>
    `k${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join()}]`;
  const bomb = `k0: &a0 [x]\n${Array.from({ length: 8 }, (_, i) => line(i + 1)).join("\n")}`;
  test.each<[what: string, yaml: string, says: RegExp]>([
    ["not YAML", "insert: [", /s\.yaml: not valid YAML/],
    ["a key twice", "remove: [1]\nremove: [2]", /not valid YAML.*unique/s],
    ["an expansion bomb", bomb, /s\.yaml: not valid YAML: .*alias/],
    ["brackets that would exhaust the stack", "[".repeat(60_000), /s\.yaml: not valid YAML: nested too deeply/],
    ["braces", "{a: ".repeat(15_000), /nested too deeply/],
    ["lists in lists on one line", "- ".repeat(30_000), /nested too deeply/],
    [
      "keys in keys, by lines",
      Array.from({ length: 300 }, (_, i) => `${" ".repeat(i)}k:`).join("\n"),
      /nested too deeply/,
    ],
    ["too long", " ".repeat(2 ** 16 + 1), /at most 65536 characters/],
    ["no mapping", "- 1", /s\.yaml: .*expected object/],
    ["nothing", "", /s\.yaml: .*expected object/],
    ["an unknown key", "inserts: []", /Unrecognized key: "inserts"/],
    ["a prototype", "__proto__: {remove: [1]}", /Unrecognized key/],
    ["an executable tag", "remove: !!js/function 'function () {}'", /remove/],
    ["text for a number", 'remove: ["1"]', /remove\[0\]/],
    ["a fraction", "remove: [1.5]", /remove\[0\]/],
    ["not a number", "insert: [{after: 1, sources: [{block: 1, weight: .nan}]}]", /insert\[0\]\.sources/],
    ["infinite weight", "insert: [{after: 1, sources: [{block: 1, weight: .inf}]}]", /insert\[0\]\.sources/],
    ["no sources", "insert: [{after: 1, sources: []}]", /insert\[0\]\.sources/],
    ["a block that is not there", "remove: [4]", /remove: the base has blocks 0 to 3, got 4/],
    ["a place that is not there", "insert: [{after: 4, sources: [1]}]", /insert\.after: .* got 4/],
    ["a source that is not there", "insert: [{after: 1, sources: [1, 4]}]", /sources: .* got 4/],
    ["a source twice", "insert: [{after: 1, sources: [1, 1]}]", /sources: block 1 is named twice/],
    [
      "an update twice",
      "update: [{block: 1, sources: [2]}, {block: 1, sources: [3]}]",
      /update: block 1 is named twice/,
    ],
    ["removed and updated", "remove: [1]\nupdate: [{block: 1, sources: [2]}]", /remove: block 1 is also/],
    ["removed and trained", "remove: [1]\ntrain: [1]", /remove: block 1 is also/],
    ["nothing left", "remove: [0, 1, 2, 3]", /remove: nothing is left of 4 blocks/],
    ["an unknown tensor", "insert: [{after: 1, sources: [1], zeroed: [mlp.bias]}]", /"mlp.bias" .* is no tensor/],
    ["a tensor twice", `insert: [{after: 1, sources: [1], zeroed: [${ZEROED[0]}, ${ZEROED[0]}]}]`, /named twice/],
  ])("%s", (_what, yaml, says) => {
    let error: unknown;
    try {
      plan(yaml);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(PlanError);
    expect((error as PlanError).message).toMatch(says);
  });

  test("a model of more than 4096 blocks", () => {
    const { insert, ...rest } = parseCustomSurgery("insert: [{after: 1, sources: [1]}]");
    const surgery = { ...rest, insert: Array.from({ length: 4093 }, () => insert[0]!) };
    expect(() => planCustom(config, surgery)).toThrow("at most 4096 blocks, this would have 4097");
  });
});

test("whatever is accepted is a plan that fits its model and survives its file (property)", () => {
  const index = fc.integer({ min: 0, max: 3 });
  const from = fc.oneof(
    fc.uniqueArray(index, { minLength: 1, maxLength: 3 }),
    fc.uniqueArray(fc.record({ block: index, weight: fc.double({ min: -2, max: 2, noNaN: true }) }), {
      minLength: 1,
      maxLength: 3,
      selector: ({ block }) => block,
    }),
  );
  const zeroed = fc.constantFrom("branches", "none", [ZEROED[0]]);
  const surgery = fc.record({
    remove: fc.uniqueArray(index, { maxLength: 2 }),
    insert: fc.array(fc.record({ after: fc.integer({ min: -1, max: 3 }), sources: from, zeroed }), { maxLength: 4 }),
    update: fc.uniqueArray(fc.record({ block: index, sources: from, zeroed }), {
      selector: (e) => e.block,
      maxLength: 2,
    }),
    train: fc.oneof(fc.constantFrom("new", "all"), fc.uniqueArray(index, { maxLength: 2 })),
  });
  let planned = 0;
  fc.assert(
    fc.property(surgery, (data) => {
      let made: ReturnType<typeof plan>;
      try {
        made = plan(JSON.stringify(data));
      } catch (error) {
        expect(error).toBeInstanceOf(PlanError);
        return;
      }
      planned += 1;
      expect(made.blocks).toHaveLength(4 - data.remove.length + data.insert.length);
      expect(() => checkPlan(made, config)).not.toThrow();
      expect(parsePlan(JSON.stringify(made))).toEqual(JSON.parse(JSON.stringify(made)));
    }),
    { numRuns: 300 },
  );
  expect(planned).toBeGreaterThan(100);
});
