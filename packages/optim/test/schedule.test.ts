import {
  decaySteps,
  learningRate,
  matchesPattern,
  parameterGroups,
  selectParameters,
  warmupSteps,
} from "@slayer/optim";
import { describe, expect, it } from "vitest";

describe("learning rate", () => {
  it("cosine: warms up to lr, then follows half a cosine to final", () => {
    const schedule = { name: "cosine", warmup: 2, final: 0.1 } as const;
    const rates = [0, 1, 2, 4, 6].map((s) => learningRate(schedule, 1, s, 6));
    // by hand: x = (s − 2)/4
    [0.5, 1, 1, 0.55, 0.1].forEach((rate, i) => expect(rates[i]).toBeCloseTo(rate, 12));
  });

  it("linear and constant", () => {
    expect(learningRate({ name: "linear", warmup: 0, final: 0 }, 1, 3, 4)).toBeCloseTo(0.25, 12);
    expect(learningRate({ name: "constant", warmup: 0, final: 0 }, 1, 3, 4)).toBe(1);
  });

  it("a warmup below 1 is a share of the steps, rounded up", () => {
    expect(warmupSteps({ name: "cosine", warmup: 0.02, final: 0 }, 14305)).toBe(287);
    expect(warmupSteps({ name: "cosine", warmup: 0.02, final: 0 }, 10)).toBe(1);
    expect(warmupSteps({ name: "cosine", warmup: 0, final: 0 }, 10)).toBe(0);
  });

  it("wsd: warms up, stays, and falls linearly over the last steps", () => {
    const schedule = { name: "wsd", warmup: 2, final: 0.2, decay: 4 } as const;
    const rates = [0, 1, 2, 6, 7, 9, 10].map((s) => learningRate(schedule, 1, s, 10));
    // by hand: the last 4 of 10 steps begin at step 6
    [0.5, 1, 1, 1, 0.8, 0.4, 0.2].forEach((rate, i) => expect(rates[i]).toBeCloseTo(rate, 12));
    expect(decaySteps({ name: "wsd", warmup: 0, final: 0, decay: 0.2 }, 1000)).toBe(200);
    expect(decaySteps({ name: "wsd", warmup: 0.02, final: 0 }, 1000)).toBe(100);
    expect(decaySteps({ name: "wsd", warmup: 6, final: 0, decay: 8 }, 10)).toBe(4);
  });

  it("a run that is all warmup ends at lr", () => {
    expect(learningRate({ name: "cosine", warmup: 4, final: 0 }, 1, 3, 4)).toBe(1);
  });
});

describe("patterns match whole path segments", () => {
  it.each([
    ["model.layers.2", "model.layers.2.mlp.up_proj.weight", true],
    ["model.layers.2", "model.layers.20.mlp.up_proj.weight", false],
    ["model.layers.*.mlp", "model.layers.20.mlp.up_proj.weight", true],
    ["layers.2", "model.layers.2.mlp.up_proj.weight", false],
    ["lm_head", "lm_head.weight", true],
    ["lm_head.weight.more", "lm_head.weight", false],
  ])("%s against %s: %s", (pattern, name, expected) => expect(matchesPattern(pattern, name)).toBe(expected));

  it("a pattern that matches nothing is an error", () => {
    expect(() => selectParameters(["a.b"], ["a", "c"])).toThrow("no parameter matches 'c'");
  });
});

describe("parameter groups", () => {
  const trainable = [
    "model.layers.2.mlp.up_proj.weight",
    "model.layers.20.mlp.up_proj.weight",
    "model.norm.weight",
  ].map((name) => ({ name, shape: name.includes("norm") ? [4] : [4, 4], dtype: "f32" as const }));
  const shown = (groups: ReturnType<typeof parameterGroups>) =>
    groups.map(({ parameters, weightDecay, lrScale }) => [parameters.map(({ name }) => name), weightDecay, lrScale]);
  const [two, twenty, norm] = trainable.map(({ name }) => name);

  it("by default matrices are decayed, norms and biases are not", () => {
    expect(shown(parameterGroups(trainable, { lr: 1, weightDecay: 0.1 }))).toEqual([
      [[two, twenty], 0.1, 1],
      [[norm], 0, 1],
    ]);
  });

  it("by rules on whole path segments, each with its lr and decay", () => {
    const rules = [
      { parameters: ["model.layers.2"], lr: 0.5 },
      { parameters: ["model.layers.20", "model.norm"], weightDecay: 0.3 },
    ];
    expect(shown(parameterGroups(trainable, { lr: 2, weightDecay: 0.1, rules }))).toEqual([
      [[two], 0.1, 0.25],
      [[twenty], 0.3, 1],
      [[norm], 0, 1],
    ]);
  });

  it.each([
    ["a parameter under no rule", [["model.layers"]], "'model.norm.weight' must fall under exactly one"],
    ["a parameter under two", [["*"], ["model.layers.20"]], "falls under * and model.layers.20"],
    ["a rule without parameters", [["*"], ["lm_head"]], "no trainable parameter falls under the group lm_head"],
  ])("%s is an error", (_, patterns, message) => {
    const rules = patterns.map((parameters) => ({ parameters }));
    expect(() => parameterGroups(trainable, { lr: 1, weightDecay: 0, rules })).toThrow(message);
  });
});
