import { compareLogits } from "@slayer/eval";
import { describe, expect, it } from "vitest";
import { changeWeight, loadFixture, withExtraBlock } from "./models.js";

describe("compareLogits", () => {
  it.each([undefined, 20, 7, 1])("finds a model identical to itself, windows of %s tokens", async (sequenceLength) => {
    const a = await loadFixture("llama-gqa");
    const b = await loadFixture("llama-gqa");
    const options = sequenceLength === undefined ? {} : { sequenceLength };
    expect(await compareLogits(a.config, a.store, b.config, b.store, a.ids, options)).toEqual({
      identical: true,
      maxAbsolute: 0,
      maxRelative: 0,
      positions: 40,
    });
  });

  it.each(["llama-bias", "mistral-window"])(
    "%s: a further block with zeroed output projections leaves logits bit-identical, one that is not zeroed does not",
    async (name) => {
      const base = await loadFixture(name);
      // Where there are output biases these are zeroed too.
      const silent = await withExtraBlock(base, 0);
      const loud = await withExtraBlock(base, 1);
      const compare = (other: typeof silent) =>
        compareLogits(base.config, base.store, other.config, other.store, base.ids, { sequenceLength: 20 });
      expect(await compare(silent)).toMatchObject({ identical: true, maxAbsolute: 0 });
      const different = await compare(loud);
      expect(different.identical).toBe(false);
      expect(different.maxRelative).toBeGreaterThan(0.01);
    },
  );

  it("measures the difference: a doubled head differs by Transformers' largest logit, relative error ≤ 1e-4", async () => {
    const a = await loadFixture("llama-gqa");
    const b = await loadFixture("llama-gqa");
    await changeWeight(b.store, "lm_head.weight", (w) => 2 * w);
    const result = await compareLogits(a.config, a.store, b.config, b.store, a.ids, { sequenceLength: 20 });
    const largest = a.logits.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    expect(Math.abs(result.maxAbsolute / largest - 1)).toBeLessThanOrEqual(1e-4);
    expect(result).toMatchObject({ identical: false, maxRelative: 1, positions: 40 });
  });

  it("sees one weight changed by one unit in its last place", async () => {
    const a = await loadFixture("llama-gqa");
    const b = await loadFixture("llama-gqa");
    await changeWeight(b.store, "model.norm.weight", (w, i) => (i === 3 ? w * (1 + 2 ** -23) : w));
    const result = await compareLogits(a.config, a.store, b.config, b.store, a.ids);
    expect(result.identical).toBe(false);
    expect(result.maxAbsolute).toBeGreaterThan(0);
    expect(result.maxRelative).toBeLessThan(1e-6);
  });

  it("sees a difference in the last, shorter window only", async () => {
    const a = await loadFixture("llama-gqa");
    const b = await loadFixture("llama-gqa");
    const rare = a.ids.find((id, i) => a.ids.indexOf(id) === i && i > 30)!;
    const at = a.ids.indexOf(rare);
    const embedding = "model.embed_tokens.weight";
    const D = a.config.hiddenSize;
    await changeWeight(b.store, embedding, (w, i) => (Math.floor(i / D) === rare ? w + 1 : w));
    const compare = (ids: Int32Array) =>
      compareLogits(a.config, a.store, b.config, b.store, ids, { sequenceLength: at });
    expect((await compare(a.ids.subarray(0, at))).identical).toBe(true);
    expect(await compare(a.ids.subarray(0, at + 1))).toMatchObject({ identical: false, positions: at + 1 });
  });

  it("refuses vocabularies of different sizes, foreign ids, and logits that are not finite", async () => {
    const a = await loadFixture("llama-gqa");
    const b = await loadFixture("llama-gqa");
    const wider = { ...b.config, vocabSize: 50 };
    await expect(compareLogits(a.config, a.store, wider, b.store, a.ids)).rejects.toThrow(/got 48 and 50 tokens/);
    const foreign = Int32Array.of(1, 2, 99);
    await expect(compareLogits(a.config, a.store, b.config, b.store, foreign)).rejects.toThrow(/got 99 at position 2/);
    const none = new Int32Array();
    await expect(compareLogits(a.config, a.store, b.config, b.store, none)).rejects.toThrow(/at least 1 tokens, got 0/);
    await changeWeight(b.store, "model.norm.weight", () => Infinity);
    await expect(compareLogits(a.config, a.store, b.config, b.store, a.ids)).rejects.toMatchObject({
      name: "EvalError",
      message: expect.stringMatching(/second model's logits are not all finite/),
    });
  });
});
