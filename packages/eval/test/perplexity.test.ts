import { readdirSync } from "node:fs";
import { perplexity } from "@slayer/eval";
import { Store } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { changeWeight, type Fixture, fixtures, loadFixture } from "./models.js";

const names = readdirSync(fixtures);

/** Σ over the first `tokens` of sequence b of −log softmax(logits)[next], in f64 from Transformers' logits. */
function nats({ logits, ids, length, config: { vocabSize: V } }: Fixture, b: number, tokens: number): number {
  let total = 0;
  for (let t = 0; t + 1 < tokens; t++) {
    const at = b * length + t;
    const row = [...logits.subarray(at * V, (at + 1) * V)];
    total += Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[ids[at + 1]!]!;
  }
  return total;
}

const relative = (ours: number, theirs: number) => Math.abs(ours - theirs) / Math.abs(theirs);

describe("numbers of Transformers, relative error ≤ 1e-4", () => {
  it.each(names)("%s: loss over two windows, and each window's from its logits by softmax in f64", async (name) => {
    const fixture = await loadFixture(name);
    const { config, store, ids, length, loss } = fixture;
    const one = await perplexity(config, store, ids, { sequenceLength: length, bytes: 100 });
    expect(relative(one.nats_per_token, loss)).toBeLessThanOrEqual(1e-4);
    expect(relative(one.perplexity, Math.exp(loss))).toBeLessThanOrEqual(1e-4);
    expect(one.windows.map((w) => w.tokens)).toEqual([19, 19]);
    for (const [b, window] of one.windows.entries()) {
      expect(relative(window.nats, nats(fixture, b, length))).toBeLessThanOrEqual(1e-4);
    }
    expect(one).toMatchObject({ tokens: 38, sequence_length: 20, bytes: 100 });
    expect(await perplexity(config, store, ids, { sequenceLength: length, bytes: 100, batch: 2 })).toEqual(one);
  });

  it("windows do not see one another, and the last may be shorter", async () => {
    const fixture = await loadFixture("llama-gqa");
    const { config, store, ids, length } = fixture;
    const text = Int32Array.from([...ids, ...ids.subarray(0, length), ...ids.subarray(length, length + 7)]);
    const progress: [number, number][] = [];
    const onProgress = (done: number, total: number) => progress.push([done, total]);
    const result = await perplexity(config, store, text, { sequenceLength: length, batch: 2, bytes: 100, onProgress });
    const wanted = [nats(fixture, 0, 20), nats(fixture, 1, 20), nats(fixture, 0, 20), nats(fixture, 1, 7)];
    expect(result.windows.map((w) => w.tokens)).toEqual([19, 19, 19, 6]);
    for (const [i, { nats: ours }] of result.windows.entries()) {
      expect(relative(ours, wanted[i]!)).toBeLessThanOrEqual(1e-4);
    }
    expect(relative(result.nats_per_token, wanted.reduce((a, b) => a + b) / 63)).toBeLessThanOrEqual(1e-4);
    expect(progress).toEqual([
      [2, 4],
      [3, 4],
      [4, 4],
    ]);
  });
});

describe("edges", () => {
  it("a single token left over is not scored, and two are", async () => {
    const { config, store, ids } = await loadFixture("llama-mha");
    const of = async (count: number) =>
      (await perplexity(config, store, ids.subarray(0, count), { sequenceLength: 10, bytes: 50 })).windows;
    const ten = await of(10);
    expect(ten.map((w) => w.tokens)).toEqual([9]);
    expect(await of(11)).toEqual(ten);
    expect((await of(12)).map((w) => w.tokens)).toEqual([9, 1]);
  });

  it("a text shorter than a window is one window, with no standard error", async () => {
    const { config, store, ids } = await loadFixture("llama-mha");
    const result = await perplexity(config, store, ids.subarray(0, 2), { sequenceLength: 4096, bytes: 5 });
    expect(result).toMatchObject({ tokens: 1, sequence_length: 4096, standard_error: null });
  });

  it("weights may lie in several stores, the first that has a name counts", async () => {
    const { config, store, ids, length } = await loadFixture("llama-mha");
    const options = { sequenceLength: length, bytes: 100 };
    const front = new Store(store.backend);
    front.add({ name: "lm_head.weight", ...store.type("lm_head.weight") });
    const zeroHead = await perplexity(config, [front, store], ids, options);
    expect(zeroHead.nats_per_token).toBeCloseTo(Math.log(48), 6);
    expect((await perplexity(config, [store, front], ids, options)).nats_per_token).not.toBeCloseTo(Math.log(48), 1);
  });

  it.each<[string, (ids: Int32Array) => Int32Array, number, number, number, RegExp]>([
    ["one token", (ids) => ids.subarray(0, 1), 20, 1, 9, /at least 2 tokens, got 1/],
    ["windows of one token", (ids) => ids, 1, 1, 9, /integer of at least 2, got 1/],
    ["half a window", (ids) => ids, 2.5, 1, 9, /integer of at least 2, got 2.5/],
    ["no batch", (ids) => ids, 20, 0, 9, /positive integer, got 0/],
    ["no bytes", (ids) => ids, 20, 1, 0, /UTF-8, a positive integer, got 0/],
    ["an id outside the vocabulary", (ids) => ids.with(5, 48), 20, 1, 9, /0 to 47, got 48 at position 5/],
    ["a negative id", (ids) => ids.with(6, -1), 20, 1, 9, /0 to 47, got -1 at position 6/],
  ])("refuses %s", async (_, change, sequenceLength, batch, bytes, message) => {
    const { config, store, ids } = await loadFixture("llama-mha");
    const result = perplexity(config, store, change(ids), { sequenceLength, batch, bytes });
    await expect(result).rejects.toMatchObject({ name: "EvalError", message: expect.stringMatching(message) });
  });

  it("refuses a model whose loss is not finite, naming the window", async () => {
    const { config, store, ids } = await loadFixture("llama-mha");
    await changeWeight(store, "model.norm.weight", () => NaN);
    const result = perplexity(config, store, ids, { sequenceLength: 20, bytes: 9 });
    await expect(result).rejects.toThrow(/window 0 is NaN/);
  });

  it("stops when the signal says so", async () => {
    const { config, store, ids } = await loadFixture("llama-mha");
    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error("enough"));
    const options = { sequenceLength: 20, bytes: 9, signal: controller.signal, onProgress };
    await expect(perplexity(config, store, ids, options)).rejects.toThrow("enough");
  });
});

describe("bits per byte", () => {
  it.each([2, 3, 20, 64])(
    "a model that knows nothing spends log2 V bits per token, whatever the window (here %i), error ≤ 1e-6",
    async (sequenceLength) => {
      const { config, store, ids } = await loadFixture("llama-gqa");
      await changeWeight(store, "lm_head.weight", () => 0);
      const result = await perplexity(config, store, ids, { sequenceLength, bytes: 80 });
      expect(Math.abs(result.perplexity - 48)).toBeLessThanOrEqual(48e-6);
      // 40 tokens of log2 48 bits over 80 bytes
      expect(Math.abs(result.bits_per_byte - Math.log2(48) / 2)).toBeLessThanOrEqual(1e-6);
    },
  );
});
