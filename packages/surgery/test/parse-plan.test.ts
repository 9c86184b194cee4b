import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkPlan, parsePlan, planLlamaPro, PlanError, planSlayer } from "@slayer/surgery";
import { tinyConfig } from "./tiny.js";

const config = tinyConfig({ num_hidden_layers: 6 });

test("what the planners make survives JSON", () => {
  for (const plan of [planSlayer(config), planSlayer(config, { final: "kept-mean" }), planLlamaPro(config)]) {
    expect(parsePlan(JSON.stringify(plan))).toEqual(plan);
    expect(() => checkPlan(plan, config)).not.toThrow();
  }
});

describe("a bad plan file gets a PlanError naming file and place", () => {
  const big = (length: number): unknown[] => Array.from({ length }, () => ({ block: 0, weight: 1 }));
  test.each<[what: string, edit: (plan: any) => void, says: RegExp]>([
    ["another version", (p) => (p.version = 2), /version/],
    ["an unknown field", (p) => (p.extra = 1), /extra/],
    ["no blocks", (p) => (p.blocks = []), /blocks/],
    ["no sources", (p) => (p.blocks[0].sources = []), /blocks\.0\.sources/],
    ["an unknown kind", (p) => (p.blocks[0].kind = "deleted"), /blocks\.0\.kind/],
    ["an index out of order", (p) => (p.blocks[1].index = 2), /blocks\.1\.index: want 1, got 2/],
    [
      "a source out of range",
      (p) => (p.blocks[2].sources[0].block = 6),
      /blocks\.2\.sources: block 6 is not in a base of 6/,
    ],
    ["a negative source", (p) => (p.blocks[2].sources[0].block = -1), /blocks\.2\.sources\.0\.block/],
    ["a fractional source", (p) => (p.blocks[2].sources[0].block = 0.5), /blocks\.2\.sources\.0\.block/],
    ["a source named twice", (p) => (p.blocks[2].sources[0].block = 2), /blocks\.2\.sources: a block is named twice/],
    ["a weight that is text", (p) => (p.blocks[2].sources[0].weight = "0.5"), /blocks\.2\.sources\.0\.weight/],
    [
      "a weight of null, as JSON writes NaN",
      (p) => (p.blocks[2].sources[0].weight = NaN),
      /blocks\.2\.sources\.0\.weight/,
    ],
    [
      "a scaled original",
      (p) => (p.blocks[0].sources[0].weight = 2),
      /blocks\.0\.kind: an original block has one source/,
    ],
    ["a zeroed original", (p) => (p.blocks[0].zeroed = ["mlp.up_proj.weight"]), /blocks\.0\.kind/],
    ["an original twice", (p) => (p.blocks[1].sources[0].block = 0), /blocks\.1: base block 0 is already there/],
    ["a zeroed name that climbs out", (p) => (p.blocks[2].zeroed[0] = "../../x"), /blocks\.2\.zeroed\.0/],
    [
      "a zeroed name twice",
      (p) => p.blocks[2].zeroed.push(p.blocks[2].zeroed[0]),
      /blocks\.2\.zeroed: a tensor is named twice/,
    ],
    ["too many sources", (p) => (p.blocks[2].sources = big(65)), /blocks\.2\.sources/],
    ["a depth beyond all models", (p) => (p.baseBlocks = 1e9), /baseBlocks/],
    ["too many notes", (p) => (p.notes = Array.from({ length: 65 }, () => "")), /notes/],
    [
      "an original that is trained",
      (p) => p.trainable.blocks.unshift(0),
      /trainable\.blocks: block 0 is an original, which stays frozen; to train it, make its kind "updated"/,
    ],
    ["a false claim to preserve the function", (p) => (p.preservesFunction = true), /its blocks change the function/],
    [
      "a trained block out of range",
      (p) => (p.trainable.blocks = [2, 4, 5]),
      /trainable\.blocks: want increasing indices below 5/,
    ],
    ["trained blocks out of order", (p) => (p.trainable.blocks = [4, 2]), /trainable\.blocks: want increasing/],
    [
      "a new block that is not trained",
      (p) => (p.trainable.blocks = [2]),
      /block 4 is new or updated, yet not trained/,
    ],
    ["a nested recipe", (p) => (p.recipe.options = {}), /recipe: want at most 64 short plain options/],
    ["a nameless recipe", (p) => delete p.recipe.name, /recipe\.name/],
  ])("%s", (_what, edit, says) => {
    const plan = structuredClone(planSlayer(config));
    edit(plan);
    const parse = (): unknown => parsePlan(JSON.stringify(plan), "my/plan.json");
    expect(parse).toThrow(PlanError);
    expect(parse).toThrow(says);
    expect(parse).toThrow(/^my\/plan\.json: /);
  });

  test.each(["", "{", "null", "[]", "1", '"plan"', `{"version":${"[".repeat(5000)}`])(
    "text that is no plan: %j",
    (text) => {
      expect(() => parsePlan(text)).toThrow(PlanError);
    },
  );

  test("any JSON at all is a plan or a PlanError", () => {
    const whole = planSlayer(config) as unknown as Record<string, unknown>;
    const anything = fc.tuple(fc.constantFrom(...Object.keys(whole)), fc.jsonValue());
    fc.assert(
      fc.property(anything, ([field, value]) => {
        const json = JSON.stringify({ ...whole, [field]: value });
        try {
          expect(JSON.parse(JSON.stringify(parsePlan(json)))).toEqual(JSON.parse(json));
        } catch (error) {
          expect(error).toBeInstanceOf(PlanError);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("checkPlan: a plan for another model", () => {
  test("another depth", () => {
    expect(() => checkPlan(planSlayer(config), tinyConfig())).toThrow("for a base of 6 blocks, this model has 8");
  });

  test("biases that a plan made for a model without them would leave", () => {
    const plan = planLlamaPro(config);
    const biased = tinyConfig({ num_hidden_layers: 6, attention_bias: true });
    expect(plan.preservesFunction).toBe(true);
    expect(() => checkPlan(plan, biased, "plan.json")).toThrow(
      /^plan\.json: preservesFunction: .*self_attn\.o_proj\.bias/,
    );
  });

  test("a zeroed tensor that blocks of this model do not have", () => {
    const plan = planLlamaPro(tinyConfig({ num_hidden_layers: 6, mlp_bias: true }));
    expect(() => checkPlan(plan, config)).toThrow('a block has no tensor "mlp.down_proj.bias"');
  });
});
