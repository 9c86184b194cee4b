import { parseRecipe, RecipeError } from "@slayer/train";
import { describe, expect, it } from "vitest";

const minimal = "model: m\ndata: [{path: a.jsonl}]\nsequence_length: 8\nbatch: {sequences: 4}\nsteps: 2\nout: runs/x\n";

describe("recipe", () => {
  it("fills in the paper's settings", () => {
    const recipe = parseRecipe(minimal, "r.yaml");
    expect(recipe.optimizer).toEqual({ name: "adamw", lr: 2e-4, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 });
    expect(recipe.schedule).toEqual({ name: "cosine", warmup: 0.02, final: 0 });
    expect(recipe).toMatchObject({ stage: "cpt", trainable: "provenance", packing: "concatenate", clip: 1 });
  });

  it("SFT packs whole conversations; sources may be patterns, and mixed by weight", () => {
    const recipe = parseRecipe(minimal, "r.yaml", [
      "stage=sft",
      "data=[{path: [a/*.jsonl, b.parquet], weight: 5}, {path: c, weight: 2}]",
    ]);
    expect(recipe).toMatchObject({ stage: "sft", packing: "whole", bad_records: 0.01, held_out: 0 });
    expect(recipe.data[0]).toEqual({
      path: ["a/*.jsonl", "b.parquet"],
      text: "text",
      layout: "auto",
      format: "auto",
      weight: 5,
    });
  });

  it("--set puts values on top, with dotted keys", () => {
    const recipe = parseRecipe(minimal, "r.yaml", ["optimizer.lr=1e-5", "batch.micro=2", "out=runs/y"]);
    expect(recipe).toMatchObject({ optimizer: { lr: 1e-5 }, batch: { sequences: 4, micro: 2 }, out: "runs/y" });
  });

  it("--set key=null takes a key out, as where a recipe has another length", () => {
    const recipe = parseRecipe(`${minimal}clip: 2\n`, "r.yaml", ["steps=null", "tokens=1e6", "clip=null", "seed=null"]);
    expect(recipe).toMatchObject({ tokens: 1e6, clip: 1, seed: 1 });
    expect(recipe.steps).toBeUndefined();
    const longer = parseRecipe(minimal, "r.yaml", ["data.1.path=b.jsonl", "data.2={path: c.jsonl}", "data.0=null"]);
    expect(longer.data.map(({ path }) => path)).toEqual(["b.jsonl", "c.jsonl"]);
  });

  it.each([
    [
      "trainable=none",
      'trainable: expected provenance, all, or a list of names such as [provenance, lm_head], got "none"',
    ],
    ["optimizer.lr=-1", "optimizer.lr: Too small: expected number to be >=0, got -1"],
    ["schedule.name=step", 'got "step"'],
    ["optimizer={name: adamw, betas: 0.9}", "optimizer.betas: Invalid input: expected tuple, received number, got 0.9"],
  ])("%s: the message says what was wanted, and what came", (set, message) => {
    expect(() => parseRecipe(minimal, "r.yaml", [set])).toThrow(message);
  });

  it.each([
    ["an unknown key", `${minimal}learning_rate: 1\n`, [], "learning_rate"],
    ["no length", minimal.replace("steps: 2", ""), [], "exactly one of steps, epochs, tokens"],
    ["two lengths", `${minimal}epochs: 1\n`, [], "exactly one of steps, epochs, tokens; got steps and epochs"],
    ["a micro-batch that does not divide", minimal, ["batch.micro=3"], "multiple of batch.micro (3)"],
    ["SFT that cuts conversations", minimal, ["stage=sft", "packing=documents"], "packs whole conversations"],
    ["SFT with held_out", minimal, ["stage=sft", "held_out=0.1"], "held_out belongs to stage: cpt"],
    ["a chat template for text", minimal, ["chat_template=t.jinja"], "chat_template belongs to stage: sft"],
    ["nothing to evaluate", minimal, ["eval.every=5"], "give eval.perplexity files, held_out a share"],
    [
      "conversations for text",
      minimal,
      ["eval={every: 1, conversations: [a]}"],
      "eval.conversations belongs to stage: sft",
    ],
    ["a decay that the schedule has not", minimal, ["schedule.decay=0.1"], "belongs to the schedule wsd"],
    ["a group without parameters", minimal, ["optimizer.groups=[{lr: 1}]"], "optimizer.groups"],
    ["one weight of two", minimal, ["data=[{path: a.txt, weight: 5}, {path: b.txt}]"], "1 of 2 sources have a weight"],
    ["NaN", minimal, ["optimizer.lr=.nan"], "optimizer.lr"],
    ["a beta of 1, whose bias correction divides by 0", minimal, ["optimizer.betas=[0.9, 1]"], "optimizer.betas.1"],
    ["an eps of 0, with which a gradient of 0 gives NaN", minimal, ["optimizer.eps=0"], "optimizer.eps"],
    ["not a mapping", "- 1", [], "a recipe is a mapping"],
    ["broken YAML", "model: [", [], "not valid YAML"],
    ["a --set without value", minimal, ["steps"], "--set wants key=value"],
    ["a --set below a value", minimal, ["steps.x=1"], "'steps' holds a value"],
    ["nesting that would exhaust the stack", `x: ${"[".repeat(20000)}`, [], "nested too deeply"],
    ["a --set of a list's name", minimal, ["data.x=5"], "'data' is a list of 1, with places from 0; got 'x'"],
    ["a --set beyond a list", minimal, ["data.5.path=x"], "'data' is a list of 1, with places from 0; got '5'"],
    ["a --set that leaves a list empty", minimal, ["data.0=null"], "data: Too small"],
    ["a --set that is not YAML", minimal, ["steps=["], "not valid YAML"],
    ["a prototype key", minimal, ["__proto__.x=1"], "r.yaml"],
  ])("%s is a RecipeError", (_, text, set, message) => {
    const parse = () => parseRecipe(text, "r.yaml", set);
    expect(parse).toThrow(RecipeError);
    expect(parse).toThrow(message);
    expect(({} as { x?: number }).x).toBeUndefined();
  });
});
