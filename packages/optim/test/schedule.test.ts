import { learningRate, matchesPattern, selectParameters, warmupSteps } from "@slayer/optim";
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
