import { blockDrops, type ChoiceItem, parseChoices } from "@slayer/importance";
import { describe, expect, it } from "vitest";
import { mcnemar } from "../src/choices.js";
import { type Fixture, loadFixture } from "./models.js";

/** Items whose contexts and choices have different lengths, made from the fixture's tokens. */
function itemsOf({ ids }: Fixture): ChoiceItem[] {
  const choice = (from: number, count: number) => ({ ids: ids.slice(from, from + count), bytes: 3 * count + 1 });
  return Array.from({ length: 12 }, (_, i) => ({
    context: ids.slice(i, i + 3 + (i % 4)),
    choices: [choice(20 + i, 1 + (i % 3)), choice(8 + i, 2), choice(5 + i, 1)],
    answer: i % 3,
  }));
}

const batchesOf = (items: ChoiceItem[], size: number) =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));

describe("multiple-choice items", () => {
  it("likelihood: one choice alone, unbatched and unpadded, scored as text gives the same (1e-12 nats)", async () => {
    const fixture = await loadFixture("llama-gqa");
    const { config, store } = fixture;
    const items = itemsOf(fixture);
    const [scores] = await blockDrops(config, store, { unit: "likelihood", batches: batchesOf(items, 5) }, ["removal"]);

    // The loss of context and choice together, less that of the context, is that of the choice.
    const lossOf = async (ids: Int32Array) => {
      const batches = [{ ids, batch: 1, length: ids.length }];
      const [one] = await blockDrops(config, store, { unit: "loss", batches }, ["removal"]);
      return [one!.base, ...one!.blocks.map(({ value }) => one!.base + value)].map((mean) => mean * (ids.length - 1));
    };
    const sums = Array.from({ length: config.blocks + 1 }, () => 0);
    for (const { context, choices, answer } of items) {
      const { ids, bytes } = choices[answer]!;
      const [whole, before] = [await lossOf(Int32Array.from([...context, ...ids])), await lossOf(context)];
      for (let k = 0; k < sums.length; k++) sums[k]! += (whole[k]! - before[k]!) / bytes;
    }
    expect(scores!.base).toBeCloseTo(sums[0]! / items.length, 12);
    for (const { block, value } of scores!.blocks) {
      expect(value).toBeCloseTo((sums[block + 1]! - sums[0]!) / items.length, 12);
    }
    expect([scores!.samples, scores!.unit, scores!.interval.method]).toEqual([
      12,
      "likelihood",
      "paired percentile bootstrap over items",
    ]);
    const scored = items.flatMap(({ choices }) => choices).reduce((sum, { ids }) => sum + ids.length, 0);
    expect(scores!.tokens).toBe(scored);
  });

  it("accuracy: from the likelihood per byte of every choice, and what changed is what McNemar's test gets", async () => {
    const fixture = await loadFixture("llama-gqa");
    const { config, store } = fixture;
    const items = itemsOf(fixture);
    const [scores] = await blockDrops(config, store, { unit: "accuracy", batches: batchesOf(items, 4) }, ["copy"]);

    // Each choice of each item as if it were the right one, one item at a time: [item][choice][model].
    const tables: number[][][] = [];
    for (const item of items) {
      const table: number[][] = [];
      for (const answer of item.choices.keys()) {
        const batches = [[{ ...item, answer }]];
        const [one] = await blockDrops(config, store, { unit: "likelihood", batches }, ["copy"]);
        table.push([one!.base, ...one!.blocks.map(({ value }) => one!.base + value)]);
      }
      tables.push(table);
    }
    const right = (i: number, model: number) => {
      const each = tables[i]!.map((choice) => choice[model]!);
      return each.indexOf(Math.min(...each)) === items[i]!.answer;
    };
    const indices = [...items.keys()];
    expect(scores!.base).toBeCloseTo(indices.filter((i) => right(i, 0)).length / 12, 12);
    let changed = 0;
    for (const { block, value, mcnemar: test } of scores!.blocks) {
      const lost = indices.filter((i) => right(i, 0) && !right(i, block + 1)).length;
      const gained = indices.filter((i) => !right(i, 0) && right(i, block + 1)).length;
      changed += lost + gained;
      expect(test).toEqual({ lost, gained, p: mcnemar(lost, gained) });
      expect(value).toBeCloseTo((lost - gained) / 12, 12);
    }
    expect(changed).toBeGreaterThan(0);
  });

  // p-values of SciPy 1.17.1: scipy.stats.binomtest(min(lost, gained), lost + gained, 0.5).pvalue
  it.each([
    [0, 0, 1],
    [1, 0, 1],
    [5, 5, 1],
    [8, 1, 0.0390625],
    [0, 10, 0.001953125],
    [40, 20, 0.01348929373119186],
    [377, 311, 0.01315115705959674],
  ])("McNemar's exact test, %i lost and %i gained: p as SciPy's binomtest (1e-12)", (lost, gained, p) => {
    expect(Math.abs(mcnemar(lost, gained) - p)).toBeLessThanOrEqual(1e-12);
    expect(mcnemar(gained, lost)).toBe(mcnemar(lost, gained));
  });

  it("refuses an item without context or with an empty choice", async () => {
    const fixture = await loadFixture("llama-mha");
    const [item] = itemsOf(fixture);
    const drops = (changed: Partial<ChoiceItem>) =>
      blockDrops(fixture.config, fixture.store, { unit: "accuracy", batches: [[{ ...item!, ...changed }]] }, [
        "removal",
      ]);
    await expect(drops({ context: new Int32Array() })).rejects.toThrow(/no token before its choices/);
    const empty = { ids: new Int32Array(), bytes: 1 };
    await expect(drops({ choices: [empty, empty] })).rejects.toThrow(/a choice without tokens/);
  });
});

describe("parseChoices", () => {
  const line = (change: object) => JSON.stringify({ context: "c", choices: ["a", "b"], answer: 1, ...change });

  it("reads lines, skips empty ones, drops other fields", () => {
    const items = parseChoices(`${line({ subject: "x" })}\n\n${line({ answer: 0 })}\n`, "items.jsonl");
    expect(items).toEqual([
      { context: "c", choices: ["a", "b"], answer: 1 },
      { context: "c", choices: ["a", "b"], answer: 0 },
    ]);
  });

  it.each<[string, string, RegExp]>([
    ["what is not JSON", "{", /not JSON/],
    ["a number", "1", /context: want a text/],
    ["null", "null", /context/],
    ["one choice", line({ choices: ["a"] }), /choices: want a list of 2 to 64/],
    ["an empty choice", line({ choices: ["a", ""] }), /none empty/],
    ["65 choices", line({ choices: Array(65).fill("a") }), /2 to 64/],
    ["a letter for an answer", line({ answer: "B" }), /index of the right choice, 0 to 1, got "B"/],
    ["an answer beyond the choices", line({ answer: 2 }), /0 to 1, got 2/],
    ["no answer", line({ answer: undefined }), /got nothing/],
  ])("refuses %s, naming the line", (_, bad, message) => {
    expect(() => parseChoices(`${line({})}\n${bad}`, "items.jsonl")).toThrow(
      expect.objectContaining({ file: "items.jsonl:2", message: expect.stringMatching(message) }),
    );
  });
});
