import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SurgeryPlan } from "@slayer/surgery";
import { PlanError, planLlamaPro, planRecipe, planSlayer, planSolar } from "@slayer/surgery";
import { tinyConfig } from "./tiny.js";

const ZEROED = ["self_attn.o_proj.weight", "mlp.down_proj.weight"];

/** A plan in short: `3` an original, `+1,2` inserted as the mean of 1 and 2, `~30,31` updated. */
function brief(plan: SurgeryPlan): string {
  const mark = { original: "", inserted: "+", updated: "~" };
  return plan.blocks.map((block) => mark[block.kind] + block.sources.map((s) => s.block).join()).join(" ");
}

const depth = (blocks: number): ReturnType<typeof tinyConfig> => tinyConfig({ num_hidden_layers: blocks });

describe("slayer", () => {
  test("32 blocks, defaults: after 1, 3, ..., 15; 30 and 31 deleted; 29 updated; 38 blocks", () => {
    const plan = planSlayer(depth(32));
    expect(brief(plan)).toBe(
      "0 1 +1,2 2 3 +3,4 4 5 +5,6 6 7 +7,8 8 9 +9,10 10 11 +11,12 12 13 +13,14 14 15 +15,16 " +
        "16 17 18 19 20 21 22 23 24 25 26 27 28 ~30,31",
    );
    expect(plan.blocks).toHaveLength(38);
    expect(plan.trainable.blocks).toEqual([2, 5, 8, 11, 14, 17, 20, 23, 37]);
    expect(plan.preservesFunction).toBe(false);
    expect(plan.recipe).toEqual({
      name: "slayer",
      groups: 8,
      groupSize: 2,
      prune: 2,
      init: "average",
      final: "deleted-mean",
      zero: true,
      position: "after-last",
      region: "half",
      start: 0,
      pruneStart: 30,
    });
  });

  test("6 blocks: the whole document", () => {
    expect(planSlayer(depth(6))).toEqual({
      version: 1,
      recipe: {
        name: "slayer",
        groups: 1,
        groupSize: 2,
        prune: 2,
        init: "average",
        final: "deleted-mean",
        zero: true,
        position: "after-last",
        region: "half",
        start: 0,
        pruneStart: 4,
      },
      baseBlocks: 6,
      blocks: [
        { index: 0, kind: "original", sources: [{ block: 0, weight: 1 }], zeroed: [] },
        { index: 1, kind: "original", sources: [{ block: 1, weight: 1 }], zeroed: [] },
        {
          index: 2,
          kind: "inserted",
          sources: [
            { block: 1, weight: 0.5 },
            { block: 2, weight: 0.5 },
          ],
          zeroed: ZEROED,
        },
        { index: 3, kind: "original", sources: [{ block: 2, weight: 1 }], zeroed: [] },
        {
          index: 4,
          kind: "updated",
          sources: [
            { block: 4, weight: 0.5 },
            { block: 5, weight: 0.5 },
          ],
          zeroed: [],
        },
      ],
      preservesFunction: false,
      trainable: { blocks: [2, 4] },
      notes: [
        "groups: the first half of 6 blocks, in whole groups of 2 rounded down, gives 1: blocks 0 to 1",
        "pruned: blocks 4 to 5 of the base",
      ],
    });
  });

  test("first third: 6 new blocks and 36 in all at 32, as in the paper's ablation", () => {
    const plan = planSlayer(depth(32), { region: "third" });
    expect(plan.blocks).toHaveLength(36);
    expect(plan.trainable.blocks).toEqual([2, 5, 8, 11, 14, 17, 35]);
  });

  test("first third of 12: blocks 0 to 3 in two groups", () => {
    expect(brief(planSlayer(depth(12), { region: "third" }))).toBe("0 1 +1,2 2 3 +3,4 4 5 6 7 8 ~10,11");
  });

  test("groups and deleted blocks can be anywhere, groups first", () => {
    const config = depth(12);
    const groups = { groups: 2, start: 3 };
    expect(brief(planSlayer(config, groups))).toBe("0 1 2 3 4 +4,5 5 6 +6,7 7 8 ~10,11");
    expect(brief(planSlayer(config, { ...groups, pruneStart: 8 }))).toBe("0 1 2 3 4 +4,5 5 6 +6,7 ~8,9 10 11");
    expect(() => planSlayer(config, { ...groups, pruneStart: 7 })).toThrow(
      "groups 2 of size 2 from block 3 on do not fit: with 12 blocks and 2 pruned, the last place is after block 5, so there is room for 1",
    );
    expect(() => planSlayer(config, { pruneStart: 11 })).toThrow("pruneStart must be at most 10");
    expect(() => planSlayer(config, { pruneStart: 0 })).toThrow("pruneStart must be a whole number of at least 1");
    expect(() => planSlayer(config, { start: -1 })).toThrow("start must be a whole number of at least 0, got -1");
  });

  test("each option changes what it says", () => {
    const config = depth(8);
    expect(brief(planSlayer(config))).toBe("0 1 +1,2 2 3 +3,4 4 ~6,7");
    expect(brief(planSlayer(config, { init: "copy" }))).toBe("0 1 +1 2 3 +3 4 ~6,7");
    expect(brief(planSlayer(config, { position: "before-last" }))).toBe("0 +0,1 1 2 +2,3 3 4 ~6,7");
    expect(brief(planSlayer(config, { final: "kept-mean" }))).toBe("0 1 +1,2 2 3 +3,4 4 ~5,6,7");
    expect(brief(planSlayer(config, { final: "keep" }))).toBe("0 1 +1,2 2 3 +3,4 4 5");
    expect(brief(planSlayer(config, { prune: 0 }))).toBe("0 1 +1,2 2 3 +3,4 4 5 6 7");
    expect(brief(planSlayer(config, { prune: 3 }))).toBe("0 1 +1,2 2 3 +3,4 ~5,6,7");
    expect(brief(planSlayer(config, { groups: 1, groupSize: 3 }))).toBe("0 1 2 +2,3 3 4 ~6,7");
    expect(planSlayer(config, { zero: false }).blocks.flatMap((block) => block.zeroed)).toEqual([]);
    expect(
      planSlayer(config, { final: "kept-mean" })
        .blocks.at(-1)
        ?.sources.map((s) => s.weight),
    ).toEqual([1 / 3, 1 / 3, 1 / 3]);
  });

  test("the function is preserved only without pruning and with zeroed blocks", () => {
    const config = depth(8);
    expect(planSlayer(config, { prune: 0 }).preservesFunction).toBe(true);
    expect(planSlayer(config, { prune: 0, zero: false }).preservesFunction).toBe(false);
    expect(planSlayer(config, { prune: 1, final: "keep" }).preservesFunction).toBe(false);
  });

  test("biases of the two zeroed projections are zeroed too", () => {
    const config = tinyConfig({ attention_bias: true, mlp_bias: true });
    const zeroed = planSlayer(config).blocks.find((block) => block.kind === "inserted")?.zeroed;
    expect([...(zeroed ?? [])].sort()).toEqual([
      "mlp.down_proj.bias",
      "mlp.down_proj.weight",
      "self_attn.o_proj.bias",
      "self_attn.o_proj.weight",
    ]);
  });

  test.each([
    [{ groups: 4 }, /groups 4 of size 2 do not fit.*the last place is after block 4, so there is room for 2/],
    [{ groups: 3, prune: 0 }, undefined],
    [{ groups: 4, prune: 0 }, /room for 3/],
    [
      { groups: 1, groupSize: 1, prune: 7 },
      /8 blocks and 7 pruned, there is no place for a new block, so there is room for 0/,
    ],
    [{ groups: 4, prune: 0, init: "copy" as const }, undefined],
    [{ prune: 8 }, /prune must leave a block: the model has 8 blocks, got prune 8/],
    [{ prune: 0, final: "kept-mean" as const }, /averages deleted blocks, but prune is 0/],
    [{ groupSize: 1, position: "before-last" as const }, /groupSize must be a whole number of at least 2, got 1/],
    [{ groups: 1.5 }, /groups must be a whole number of at least 1, got 1.5/],
    [{ groupSize: 5 }, /groups must be a whole number of at least 1, got 0 \(8 blocks in groups of 5\)/],
    [{ prune: -1 }, /prune must be a whole number of at least 0, got -1/],
  ])("8 blocks with %o: %s", (options, message) => {
    if (message === undefined) expect(() => planSlayer(depth(8), options)).not.toThrow();
    else expect(() => planSlayer(depth(8), options)).toThrow(message);
  });
});

describe("llama-pro", () => {
  test("32 blocks: a copy after every 4th, new indices 4, 9, ..., 39", () => {
    const plan = planLlamaPro(depth(32));
    expect(brief(plan)).toBe(
      "0 1 2 3 +3 4 5 6 7 +7 8 9 10 11 +11 12 13 14 15 +15 " +
        "16 17 18 19 +19 20 21 22 23 +23 24 25 26 27 +27 28 29 30 31 +31",
    );
    expect(plan.trainable.blocks).toEqual([4, 9, 14, 19, 24, 29, 34, 39]);
    expect(plan.preservesFunction).toBe(true);
    expect(plan.blocks[4]).toEqual({ index: 4, kind: "inserted", sources: [{ block: 3, weight: 1 }], zeroed: ZEROED });
  });

  test("groups and every", () => {
    expect(brief(planLlamaPro(depth(8)))).toBe("0 1 2 3 +3 4 5 6 7 +7");
    expect(brief(planLlamaPro(depth(8), { groups: 4 }))).toBe("0 1 +1 2 3 +3 4 5 +5 6 7 +7");
    expect(brief(planLlamaPro(depth(8), { groups: 1, every: 2 }))).toBe("0 1 +1 2 3 4 5 6 7");
    expect(brief(planLlamaPro(depth(3)))).toBe("0 1 2 +2");
  });

  test("a depth that does not divide is said in the notes", () => {
    const plan = planLlamaPro(depth(10));
    expect(brief(plan)).toBe("0 1 2 3 +3 4 5 6 7 +7 8 9");
    expect(plan.notes).toContain("10 blocks do not divide evenly: no new block after blocks 8 to 9");
  });

  test("groups that do not fit name the limit", () => {
    expect(() => planLlamaPro(depth(8), { groups: 9 })).toThrow("9 groups of 1 do not fit 8 blocks: at most 8 groups");
    expect(() => planLlamaPro(depth(8), { every: 9 })).toThrow("every must be at most 8");
    expect(() => planLlamaPro(depth(8), { groups: 3, every: 4 })).toThrow("at most 2 groups of 4");
  });
});

describe("solar", () => {
  test("32 blocks, m = 8: 0 to 23, then 8 to 31; 48 blocks, all trained", () => {
    const plan = planSolar(depth(32));
    const range = (from: number, to: number, mark: string): string =>
      Array.from({ length: to - from + 1 }, (_, i) => `${mark}${from + i}`).join(" ");
    expect(brief(plan)).toBe(`${range(0, 23, "~")} ${range(8, 23, "+")} ${range(24, 31, "~")}`);
    expect(plan.blocks).toHaveLength(48);
    expect(plan.trainable.blocks).toEqual(Array.from({ length: 48 }, (_, i) => i));
    expect(plan.preservesFunction).toBe(false);
    expect(plan.recipe).toEqual({ name: "solar", trim: 8 });
    expect(plan.blocks[24]).toEqual({ index: 24, kind: "inserted", sources: [{ block: 8, weight: 1 }], zeroed: [] });
  });

  test("m, also where nothing divides evenly, and m = 0", () => {
    expect(brief(planSolar(depth(6)))).toBe("~0 ~1 ~2 ~3 ~4 +1 +2 +3 +4 ~5");
    expect(planSolar(depth(6)).notes).toEqual([
      "trim: a quarter of 6 blocks, rounded down, gives 1; 6 is no multiple of 4, so the new depth is not exactly 1.5 times the old",
      "seam: block 4 of the base is followed by block 1",
    ]);
    expect(brief(planSolar(depth(5), { trim: 2 }))).toBe("~0 ~1 ~2 +2 ~3 ~4");
    expect(brief(planSolar(depth(2), { trim: 0 }))).toBe("~0 ~1 +0 +1");
    expect(() => planSolar(depth(6), { trim: 3 })).toThrow("trim 3 leaves no block of 6 to come twice");
    expect(() => planSolar(depth(6), { trim: 3 })).toThrow("take at most 2");
    expect(() => planSolar(depth(6), { trim: -1 })).toThrow("trim must be a whole number of at least 0, got -1");
  });

  test("2·(N − m) blocks: the first N − m in order, then the last N − m (property)", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (blocks, share) => {
        const trim = Math.floor((share * blocks) / 2);
        fc.pre(2 * trim < blocks);
        const sources = planSolar(depth(blocks), { trim }).blocks.map((block) => block.sources[0]?.block);
        const kept = blocks - trim;
        expect(sources.slice(0, kept)).toEqual(Array.from({ length: kept }, (_, i) => i));
        expect(sources.slice(kept)).toEqual(Array.from({ length: kept }, (_, i) => trim + i));
      }),
    );
  });
});

describe("planRecipe", () => {
  test("the named recipes are the planners", () => {
    expect(planRecipe("slayer", depth(8), { prune: 0, groups: undefined })).toEqual(planSlayer(depth(8), { prune: 0 }));
    expect(planRecipe("llama-pro", depth(8), { groups: 4 })).toEqual(planLlamaPro(depth(8), { groups: 4 }));
  });

  test.each([
    ["sola", {}, /unknown recipe "sola"; available: slayer, llama-pro, solar, prune, custom$/],
    ["solar", { blocks: "1" }, /recipe "solar" has no option "blocks"; its options are trim/],
    ["custom", { prune: 1 }, /recipe "custom" has no option "prune"; it has none/],
    ["custom", {}, /needs a file that says what to do/],
    ["prune", { blocks: 3 }, /blocks must be a string, got 3/],
    ["constructor", {}, /unknown recipe "constructor"/],
    ["llama-pro", { prune: 2 }, /recipe "llama-pro" has no option "prune"; its options are groups, every, init, zero/],
    ["llama-pro", { init: "average" }, /init must be copy, got "average"/],
    ["slayer", { groups: "8" }, /groups must be a number, got "8"/],
    ["slayer", { zero: "no" }, /zero must be a boolean, got "no"/],
    ["slayer", { final: "last" }, /final must be deleted-mean or kept-mean or keep, got "last"/],
  ])("%s with %o is a PlanError", (name, options, message) => {
    expect(() => planRecipe(name, depth(8), options)).toThrow(PlanError);
    expect(() => planRecipe(name, depth(8), options)).toThrow(message);
  });
});

describe("properties of every plan", () => {
  const cases = fc.record({
    blocks: fc.integer({ min: 1, max: 60 }),
    recipe: fc.constantFrom("slayer", "llama-pro"),
    groups: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
    size: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
    prune: fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined }),
    init: fc.constantFrom("average", "copy"),
    position: fc.constantFrom("after-last", "before-last"),
    region: fc.constantFrom("half", "third"),
  });

  test("originals stay in order, new blocks sit between their sources, counts add up", () => {
    let planned = 0;
    fc.assert(
      fc.property(cases, ({ blocks, recipe, groups, size, prune, init, position, region }) => {
        const options =
          recipe === "slayer" ? { groups, groupSize: size, prune, init, position, region } : { groups, every: size };
        let plan: SurgeryPlan;
        try {
          plan = planRecipe(recipe, depth(blocks), options);
        } catch (error) {
          expect(error).toBeInstanceOf(PlanError);
          return;
        }
        planned += 1;
        const pruned = recipe === "slayer" ? (prune ?? 2) : 0;
        const inserted = plan.blocks.filter((block) => block.kind === "inserted");
        expect(plan.blocks.length).toBe(blocks - pruned + inserted.length);
        expect(inserted.length).toBe(plan.recipe["groups"]);
        const kept = plan.blocks.filter((block) => block.kind !== "inserted");
        expect(kept.length).toBe(blocks - pruned);
        for (const [base, block] of kept.entries()) {
          if (block.kind === "original") expect(block.sources).toEqual([{ block: base, weight: 1 }]);
          else expect(base).toBe(kept.length - 1);
        }
        for (const block of inserted) {
          const before = plan.blocks.slice(0, block.index).filter((other) => other.kind !== "inserted").length - 1;
          expect(block.sources.map((s) => s.block)).toEqual(
            block.sources.length === 1 ? [before] : [before, before + 1],
          );
          expect(block.sources.reduce((sum, s) => sum + s.weight, 0)).toBe(1);
        }
        expect(plan.preservesFunction).toBe(pruned === 0);
      }),
      { numRuns: 500 },
    );
    expect(planned).toBeGreaterThan(100);
  });
});
