import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PlanError, planPrune, planRecipe, planSlayer } from "@slayer/surgery";
import type { BlockValues, SurgeryPlan } from "@slayer/surgery";
import { tinyConfig } from "./tiny.js";

const depth = (blocks: number): ReturnType<typeof tinyConfig> => tinyConfig({ num_hidden_layers: blocks });
const scores = (values: readonly number[], runs?: BlockValues["runs"]): BlockValues => ({
  blocks: values.map((value, block) => ({ block, value })),
  ...(runs === undefined ? {} : { runs }),
});

/** Base blocks in the new order; `~6,7` an updated one. */
const brief = (plan: SurgeryPlan): string =>
  plan.blocks.map((b) => (b.kind === "original" ? "" : "~") + b.sources.map((s) => s.block).join()).join(" ");

describe("prune", () => {
  test("a list: the whole document", () => {
    const copy = (index: number, block: number) => ({
      index,
      kind: "original",
      sources: [{ block, weight: 1 }],
      zeroed: [],
    });
    expect(planPrune(depth(6), { blocks: "4, 1-2" })).toEqual({
      version: 1,
      recipe: { name: "prune", blocks: "1-2,4", prune: 3, choose: "list", final: "keep" },
      baseBlocks: 6,
      blocks: [copy(0, 0), copy(1, 3), copy(2, 5)],
      preservesFunction: false,
      trainable: { blocks: [] },
      notes: ["pruned: blocks 1-2,4 of the base"],
    });
  });

  test("the block before the removed run can take their place, and is then trained", () => {
    expect(brief(planPrune(depth(8), { blocks: "4-6", final: "deleted-mean" }))).toBe("0 1 2 ~4,5,6 7");
    const kept = planPrune(depth(8), { blocks: "6-7", final: "kept-mean" });
    expect(brief(kept)).toBe("0 1 2 3 4 ~5,6,7");
    expect(kept.trainable.blocks).toEqual([5]);
    expect(kept.blocks[5]?.sources.map((s) => s.weight)).toEqual([1 / 3, 1 / 3, 1 / 3]);
  });

  test("run (default): the measured run of n, wherever its single blocks stand", () => {
    const measured = [
      { n: 1, start: 3, value: 0.1 },
      { n: 2, start: 4, value: 0.125 },
    ];
    const values = scores([5, 1, 1, 0, 9, 9, 1, 5], measured);
    const plan = planPrune(depth(8), {}, values);
    expect(plan.recipe).toEqual({ name: "prune", blocks: "4-5", prune: 2, choose: "run", final: "keep" });
    expect(brief(plan)).toBe("0 1 2 3 6 7");
    expect(plan.notes).toEqual([
      "pruned: blocks 4-5 of the base, by importance: at distance 0.125, the smallest of all runs of 2 (2: a quarter of 8, rounded down, at least 1)",
    ]);
  });

  test("lowest: one by one, the deeper one among equals", () => {
    const plan = planPrune(depth(8), { choose: "lowest", prune: 3 }, scores([5, 1, 2, 0, 9, 9, 1, 1]));
    expect(plan.recipe.blocks).toBe("3,6-7");
    expect(plan.notes[0]).toMatch(/the lowest values, in order: 3 \(0\), 7 \(1\), 6 \(1\); next is \d \(\d\)$/);
  });

  test("removing n lowest leaves no kept block below a removed one (property)", () => {
    const cases = fc
      .array(fc.integer({ min: 0, max: 20 }), { minLength: 2, maxLength: 40 })
      .chain((values) =>
        fc.record({ values: fc.constant(values), prune: fc.integer({ min: 1, max: values.length - 1 }) }),
      );
    fc.assert(
      fc.property(cases, ({ values, prune }) => {
        const plan = planPrune(depth(values.length), { choose: "lowest", prune }, scores(values));
        const kept = plan.blocks.map((block) => block.sources[0]?.block as number);
        expect(kept).toHaveLength(values.length - prune);
        expect(kept).toEqual(kept.toSorted((a, b) => a - b));
        const removed = values.map((_, i) => i).filter((i) => !kept.includes(i));
        const at = (i: number): number => values[i] as number;
        expect(Math.max(...removed.map(at))).toBeLessThanOrEqual(Math.min(...kept.map(at)));
      }),
    );
  });

  const few = scores([1, 2, 3]);
  test.each<[options: object, values: BlockValues | undefined, message: RegExp]>([
    [{}, undefined, /needs the blocks to remove/],
    [{ prune: 2 }, undefined, /needs the blocks to remove/],
    [{ blocks: "1" }, scores([1, 2, 3, 4]), /got both/],
    [{ blocks: "1", prune: 1 }, undefined, /got both/],
    [{ blocks: "2-5" }, undefined, /the model has blocks 0 to 3, got 4/],
    [{ blocks: "0-3" }, undefined, /removing all 4 blocks leaves no model/],
    [{ blocks: "" }, undefined, /a list like 21-24,30: got ""/],
    [{ blocks: "1;2" }, undefined, /got "1;2"/],
    [{ blocks: "-1" }, undefined, /got "-1"/],
    [{ blocks: "3-1" }, undefined, /"3-1" ends before it begins/],
    [{ blocks: "0-999999999" }, undefined, /is beyond 4096 blocks/],
    [{ blocks: "1-2,2" }, undefined, /block 2 is there twice/],
    [{ blocks: "0-1", final: "deleted-mean" }, undefined, /0-1 has none before it: use final "keep"/],
    [{ blocks: "1,3", final: "kept-mean" }, undefined, /1,3 is more than one run/],
    [{}, few, /scores are of 3 blocks, this model has 4/],
    [{}, scores([1, 2, NaN, 4]), /want a number for block 2, got NaN/],
    [{ prune: 2 }, scores([1, 2, 3, 4]), /no run of 2 blocks .* choose "lowest"/],
    [{ prune: 2 }, scores([1, 2, 3, 4], [{ n: 2, start: 3, value: 0 }]), /a run of 2 from block 3 is not in 4 blocks/],
    [{ prune: 4, choose: "lowest" }, scores([1, 2, 3, 4]), /prune must leave a block/],
    [{ prune: 0, choose: "lowest" }, scores([1, 2, 3, 4]), /prune must be a whole number of at least 1, got 0/],
  ])("4 blocks with %o: %s %s", (options, importance, message) => {
    const plan = (): unknown =>
      planRecipe("prune", depth(4), { ...options }, importance === undefined ? {} : { importance });
    expect(plan).toThrow(PlanError);
    expect(plan).toThrow(message);
  });
});

describe("slayer by importance", () => {
  test("the region with the largest sum is expanded, the run with the smallest in the deeper half goes", () => {
    //               0  1  2  3  4  5  6  7  8  9 10 11
    const values = [1, 1, 5, 5, 5, 5, 1, 9, 2, 1, 1, 9];
    const plan = planSlayer(depth(12), { groups: 2 }, scores(values));
    expect(brief(plan)).toBe("0 1 2 3 ~3,4 4 5 ~5,6 6 7 ~9,10 11");
    expect(plan.recipe).toMatchObject({ groups: 2, start: 2, pruneStart: 9 });
    expect(plan.notes).toEqual([
      "importance: blocks 9 to 10 matter least in the deeper half and go (sum 2, the smallest of 5 places; next is that from block 8, 3)",
      "importance: blocks 2 to 5 matter most before those and are expanded (sum 20, the largest of 5 places; next is that from block 4, 20)",
      "pruned: blocks 9 to 10 of the base",
    ]);
  });

  test("equal values everywhere give what slayer does without scores", () => {
    for (const blocks of [6, 8, 13, 32]) {
      const config = depth(blocks);
      expect(planSlayer(config, {}, scores(Array(blocks).fill(0.5))).blocks).toEqual(planSlayer(config).blocks);
    }
  });

  test("start and pruneStart that are given stay; scores of another model, or for another recipe, are refused", () => {
    const values = scores([9, 9, 1, 1, 1, 1, 0, 0, 5, 5, 5, 5]);
    const plan = planSlayer(depth(12), { groups: 1, start: 2, pruneStart: 10 }, values);
    expect(plan.recipe).toMatchObject({ start: 2, pruneStart: 10 });
    expect(() => planSlayer(depth(8), {}, values)).toThrow("scores are of 12 blocks, this model has 8");
    expect(() => planRecipe("llama-pro", depth(12), {}, { importance: values })).toThrow(
      'recipe "llama-pro" takes no importance scores; slayer and prune can',
    );
  });

  test("whatever the values, there is a plan wherever there is one without, of the same depth (property)", () => {
    const cases = fc.record({
      values: fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 40 }),
      groups: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
      groupSize: fc.integer({ min: 1, max: 4 }),
      prune: fc.integer({ min: 0, max: 5 }),
      init: fc.constantFrom("average", "copy"),
      position: fc.constantFrom("after-last", "before-last"),
    });
    let planned = 0;
    fc.assert(
      fc.property(cases, ({ values, ...options }) => {
        const config = depth(values.length);
        const attempt = (importance?: BlockValues): number => {
          try {
            return planRecipe("slayer", config, options, importance === undefined ? {} : { importance }).blocks.length;
          } catch (error) {
            expect(error).toBeInstanceOf(PlanError);
            return -1;
          }
        };
        const wanted = attempt();
        expect(attempt(scores(values))).toBe(wanted);
        planned += wanted > 0 ? 1 : 0;
      }),
      { numRuns: 500 },
    );
    expect(planned).toBeGreaterThan(50);
  });
});
