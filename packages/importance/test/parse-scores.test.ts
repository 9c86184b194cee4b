import {
  angularDistances,
  blockDrops,
  gateGradients,
  leastImportant,
  parseScores,
  type Scores,
} from "@slayer/importance";
import { describe, expect, it } from "vitest";
import { loadFixture } from "./models.js";

const { config, store, ids, batch, length } = await loadFixture("llama-mha");
const scores = await angularDistances(config, store, [{ ids, batch, length }]);

type Json = Record<string, unknown>;

/** The scores as loose JSON, with one change. */
type Matrices = Record<"distances" | "low" | "high", number[][]>;

function changed(change: (data: Json & Matrices & { blocks: Json[]; runs: Json[] }) => void): string {
  const data = JSON.parse(JSON.stringify(scores));
  change(data);
  return JSON.stringify(data);
}

describe("parseScores", () => {
  it("gives back what was written, and drops what it does not know", () => {
    expect(parseScores(JSON.stringify(scores, null, 2))).toEqual(scores);
    expect(parseScores(changed((data) => (data.comment = "mine")))).toEqual(scores);
    const alone = { low: null, high: null };
    const none = changed((data) => {
      Object.assign(data, alone);
      for (const one of [...data.blocks, ...data.runs]) Object.assign(one, alone);
    });
    expect(parseScores(none).blocks[0]).toEqual({ ...scores.blocks[0], ...alone });
  });

  it.each<[string, string, RegExp]>([
    ["text that is not JSON", "{", /not JSON/],
    ["no object", "[1]", /version: want 1, got nothing/],
    ["another version", changed((data) => (data.version = 2)), /version: want 1, got 2/],
    [
      "a metric it does not know",
      changed((data) => (data.metric = "fisher")),
      /metric: want "angular" or .*"gate", got "fisher"/,
    ],
    ["an unknown unit", changed((data) => (data.unit = "degrees")), /unit: want "pi" or "radians", got "degrees"/],
    ["a model of no blocks", changed((data) => (data.model = {})), /model.family/],
    [
      "2^53 blocks",
      changed((data) => (data.model = { family: "llama", blocks: 2 ** 53, hiddenSize: 1 })),
      /model.blocks: want a number from 1 to 512/,
    ],
    ["half a sequence", changed((data) => (data.samples = 1.5)), /samples: want an integer, got 1.5/],
    ["a missing row", changed((data) => data.distances.pop()), /distances.length: want 3, got 2/],
    ["a missing entry", changed((data) => data.distances[1]!.pop()), /distances.1.length: want 3, got 2/],
    ["a distance beyond π", changed((data) => (data.distances[0]![1] = 1.5)), /distances.0.1: want a number from 0/],
    ["null for a distance", changed((data) => (data.distances[0]![1] = null!)), /distances.0.1.*got null/],
    [
      "an infinite distance",
      JSON.stringify(scores).replace(/"distances":\[\[0/, '"distances":[[1e999'),
      /0.0.*got null/,
    ],
    ["a matrix that is not symmetric", changed((data) => (data.distances[2]![0] = 0.5)), /symmetric/],
    [
      "a block out of place",
      changed((data) => (data.blocks = data.blocks.toReversed())),
      /blocks.0.block: want 0, got 1/,
    ],
    ["a block's value that is not its distance", changed((data) => (data.blocks[1]!.value = 0)), /blocks.1.value/],
    [
      "an interval upside down",
      changed((data) => (data.high[0]![1] = 0.5 * data.low[0]![1]!)),
      /high.0.1: want a number from 0\.[0-9]+ to 1/,
    ],
    ["half an interval", changed((data) => Object.assign(data, { high: null })), /high: want a list of 3, got null/],
    ["a block's interval that is not its pair's", changed((data) => (data.blocks[0]!.low = 0)), /blocks.0.low.*in low/],
    [
      "a run that is not the best",
      changed((data) => (data.runs[0]!.start = 1 - scores.runs[0]!.start)),
      /runs.0: want/,
    ],
    [
      "a word for a list",
      changed((data) => Object.assign(data, { runs: "none" })),
      /runs: want a list of 2, got "none"/,
    ],
    ["no interval settings", changed((data) => delete data.interval), /interval.method/],
  ])("refuses %s", (_, json, message) => {
    expect(() => parseScores(json, "scores.json")).toThrow(
      expect.objectContaining({
        name: "ImportanceError",
        file: "scores.json",
        message: expect.stringMatching(message),
      }),
    );
  });

  it("refuses a file beyond 32 Mi characters before reading it", () => {
    expect(() => parseScores(" ".repeat(32 * 1024 * 1024 + 1))).toThrow(/at most 33554432 characters/);
  });
});

describe("parseScores of drops and gates", () => {
  const items = Array.from({ length: 4 }, (_, i) => ({
    context: ids.slice(i, i + 3),
    choices: [
      { ids: ids.slice(i + 4, i + 6), bytes: 5 },
      { ids: ids.slice(i + 7, i + 8), bytes: 2 },
    ],
    answer: i % 2,
  }));
  const all = async (): Promise<Scores[]> => [
    ...(await blockDrops(config, store, { unit: "loss", batches: [{ ids, batch, length }] }, [
      "removal",
      "copy",
      "average",
    ])),
    ...(await blockDrops(config, store, { unit: "accuracy", batches: [items] }, ["removal"], {
      untilSettled: { level: 0.9, least: 1 },
    })),
    ...(await blockDrops(config, store, { unit: "likelihood", batches: [items] }, ["copy"])),
    await gateGradients(config, store, [{ ids, batch, length }], { untilSettled: { level: 0.9 } }),
  ];

  it("gives back what was written", async () => {
    for (const one of await all()) expect(parseScores(JSON.stringify(one))).toEqual(one);
  });

  it.each<[string, number, (data: Json & { blocks: Json[]; interval: Json; settled: Json }) => void, RegExp]>([
    ["an init for removal", 0, (data) => (data.init = "copy"), /init: want null, got "copy"/],
    ["insertion without init", 1, (data) => (data.init = null), /init: want "copy" or "average", got null/],
    [
      "an average after the last block",
      2,
      (data) => data.blocks.push({ ...data.blocks[0], block: 1 }),
      /length: want 1/,
    ],
    ["a block too few", 0, (data) => data.blocks.pop(), /blocks.length: want 2, got 1/],
    ["a drop that is no number", 0, (data) => (data.blocks[0]!.value = "big"), /blocks.0.value/],
    ["an interval upside down", 0, (data) => (data.blocks[1]!.low = 1e9), /blocks.1.high/],
    ["another interval's method", 0, (data) => (data.interval.method = "jackknife"), /interval.method: want "paired/],
    ["an unknown unit", 0, (data) => (data.unit = "nats"), /unit: want "loss" or/],
    ["a base's interval upside down", 0, (data) => (data.baseHigh = 0.1), /baseHigh: want a number of at least/],
    ["a negative loss", 0, (data) => (data.base = -1), /base: want a number of at least 0/],
    ["an accuracy of 2", 3, (data) => (data.base = 2), /base: want a number from 0 to 1/],
    ["accuracy without McNemar", 3, (data) => delete data.blocks[0]!.mcnemar, /blocks.0.mcnemar.lost/],
    [
      "a p-value of its own",
      3,
      (data) => ((data.blocks[0]!.mcnemar as Json).p = 0.123),
      /mcnemar.p: want .*as lost and gained/,
    ],
    ["more lost than items", 3, (data) => ((data.blocks[0]!.mcnemar as Json).lost = 5), /mcnemar.lost: want .* 0 to 4/],
    ["a word for settled", 3, (data) => (data.settled.decided = "yes"), /settled.decided: want true or false/],
    ["no word on settling", 0, (data) => delete (data as Json).settled, /settled.level/],
    ["gates without a base", 5, (data) => delete data.base, /base/],
  ])("refuses %s", async (_, which, change, message) => {
    const data = JSON.parse(JSON.stringify((await all())[which]));
    change(data);
    expect(() => parseScores(JSON.stringify(data))).toThrow(message);
  });

  it("leastImportant: smallest drop first; gates by magnitude, whatever their sign", async () => {
    const [removal, , , , , gate] = await all();
    const set = (scores: Scores, values: number[]) =>
      ({ ...scores, blocks: values.map((value, block) => ({ block, value, low: null, high: null })) }) as Scores;
    expect(leastImportant(set(removal!, [0.5, -0.2, 0.1]))).toEqual([1, 2, 0]);
    expect(leastImportant(set(gate!, [0.5, -0.2, 0.1]))).toEqual([2, 1, 0]);
  });
});
