import { angularDistances, parseScores } from "@slayer/importance";
import { describe, expect, it } from "vitest";
import { loadFixture } from "./models.js";

const { config, store, ids, batch, length } = await loadFixture("llama-mha");
const scores = await angularDistances(config, store, [{ ids, batch, length }]);

type Json = Record<string, unknown>;

/** The scores as loose JSON, with one change. */
function changed(change: (data: Json & { distances: number[][]; blocks: Json[]; runs: Json[] }) => void): string {
  const data = JSON.parse(JSON.stringify(scores));
  change(data);
  return JSON.stringify(data);
}

describe("parseScores", () => {
  it("gives back what was written, and drops what it does not know", () => {
    expect(parseScores(JSON.stringify(scores, null, 2))).toEqual(scores);
    expect(parseScores(changed((data) => (data.comment = "mine")))).toEqual(scores);
    const none = changed((data) => data.blocks.forEach((block) => (block.low = block.high = null)));
    expect(parseScores(none).blocks[0]).toEqual({ ...scores.blocks[0], low: null, high: null });
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
      /model.blocks: want a number from 1 to 1024/,
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
    ["an interval upside down", changed((data) => (data.blocks[0]!.low = 2)), /blocks.0.high: want a number from 2/],
    ["half an interval", changed((data) => (data.blocks[0]!.high = null)), /blocks.0.high/],
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
