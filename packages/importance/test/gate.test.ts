import type { ModelConfig } from "@slayer/checkpoint";
import { gateGradients } from "@slayer/importance";
import { forward, forwardBlock, forwardEmbedding, forwardHead, forwardInputs } from "@slayer/model";
import { createReferenceBackend, Graph, lmHeadLoss, Program, size, Store } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { changeWeight, type Fixture, loadFixture } from "./models.js";

/** The weights in f64. */
async function widen({ config, store }: Fixture): Promise<Store> {
  const graph = new Graph();
  const { final, head } = forward(graph, config, { batch: 1, length: 1, dtype: "f64" });
  lmHeadLoss(final, head, graph.input("targets", [1, 1], "i32"));
  const wide = new Store(createReferenceBackend());
  for (const tensor of graph.persistent.values()) {
    if (tensor.role !== "parameter") continue;
    wide.add(tensor);
    await wide.write(tensor.name, Float64Array.from(await store.read(tensor.name)));
  }
  return wide;
}

/** Summed next-token loss with gates: x + α_l·(block_l(x) − x), all in f64, block by block; the gates act on the host. */
async function gatedLoss(config: ModelConfig, wide: Store, ids: Int32Array, alphas: readonly number[]) {
  const options = { batch: 1, length: ids.length, dtype: "f64" } as const;
  const inputs = forwardInputs(config, ids, options);
  const shape = [1, ids.length, config.hiddenSize];
  const { input_ids, ...ofBlocks } = inputs;

  const start = new Graph();
  const embed = await Program.compile(start, { x: forwardEmbedding(start, config, options) }, wide);
  await embed.run({ input_ids: input_ids! });
  let x = (await embed.read("x")) as Float64Array;
  for (const [l, alpha] of alphas.entries()) {
    const graph = new Graph();
    const y = forwardBlock(graph, config, l, graph.input("x", shape, "f64"), options);
    const block = await Program.compile(graph, { y }, wide);
    await block.run({ ...ofBlocks, x });
    const leaving = await block.read("y");
    x = x.map((value, i) => value + alpha * (leaving[i]! - value));
  }
  const end = new Graph();
  const { final, head } = forwardHead(end, config, end.input("x", shape, "f64"));
  const nll = lmHeadLoss(final, head, end.input("targets", [1, ids.length], "i32"));
  const loss = await Program.compile(end, { nll }, wide);
  await loss.run({ x, targets: Int32Array.from(ids, (_, i) => ids[i + 1] ?? -100) });
  expect(size(shape)).toBe(x.length);
  return Array.from(await loss.read("nll")).reduce((a, b) => a + b, 0);
}

const ones = (n: number, at = -1, value = 1) => Array.from({ length: n }, (_, l) => (l === at ? value : 1));

describe("gate gradients", () => {
  it.each(["llama-gqa", "llama-bias", "llama-tied", "mistral-window"])(
    "%s: central differences of the gated loss in f64, to 1e-5 of the largest",
    async (name) => {
      const fixture = await loadFixture(name);
      const { config, store, ids, batch, length } = fixture;
      const wide = await widen(fixture);
      const scores = await gateGradients(config, store, [{ ids, batch, length }]);
      const tokens = batch * (length - 1);
      const sequences = Array.from({ length: batch }, (_, b) => ids.slice(b * length, (b + 1) * length));
      const lossAt = async (alphas: number[]) => {
        let total = 0;
        for (const sequence of sequences) total += await gatedLoss(config, wide, sequence, alphas);
        return total / tokens;
      };
      const h = 1e-4;
      const L = config.blocks;
      const wanted: number[] = [];
      for (let l = 0; l < L; l++) {
        wanted.push(((await lossAt(ones(L, l, 1 + h))) - (await lossAt(ones(L, l, 1 - h)))) / (2 * h));
      }
      const largest = Math.max(...wanted.map(Math.abs));
      expect(largest).toBeGreaterThan(1e-4);
      for (const { block, value } of scores.blocks) {
        expect(Math.abs(value - wanted[block]!)).toBeLessThanOrEqual(1e-5 * largest);
      }
      expect(scores.base).toBeCloseTo(await lossAt(ones(L)), 5);
      expect([scores.samples, scores.tokens, scores.blocks.length]).toEqual([batch, tokens, L]);
    },
  );

  it("a block that adds nothing has gradient 0 exactly", async () => {
    const { config, store, ids, batch, length } = await loadFixture("llama-gqa");
    await changeWeight(store, "model.layers.1.self_attn.o_proj.weight", () => 0);
    await changeWeight(store, "model.layers.1.mlp.down_proj.weight", () => 0);
    const { blocks } = await gateGradients(config, store, [{ ids, batch, length }]);
    expect(blocks[1]).toEqual({ block: 1, value: 0, low: 0, high: 0 });
    expect(blocks[0]!.value).not.toBe(0);
  });

  it("one pass per batch, no weight gradient in its plan, all memory freed", async () => {
    const backend = createReferenceBackend();
    const live = new Set<unknown>();
    const weightGradients = new Set<string>();
    let [runs, products] = [0, 0];
    const { config, store, ids, batch, length } = await loadFixture("llama-gqa", {
      ...backend,
      allocate: (bytes) => {
        const buffer = backend.allocate(bytes);
        live.add(buffer);
        return buffer;
      },
      free: (buffer) => void live.delete(buffer),
      run: (executable, signal) => {
        runs++;
        products = executable.plan.steps.filter(({ op }) => op === "matmul").length;
        for (const { op, attrs } of executable.plan.steps) {
          if (op === "rmsnorm_backward_weight" || op === "embedding_backward" || attrs.weight) weightGradients.add(op);
        }
        return backend.run(executable, signal);
      },
    });
    const before = live.size;
    await gateGradients(config, store, [
      { ids, batch, length },
      { ids, batch, length },
    ]);
    expect(runs).toBe(2);
    expect([...weightGradients]).toEqual([]);
    expect(products).toBe(7 * config.blocks + 7 * (config.blocks - 1)); // backward: inputs only, and none below block 1
    expect(live.size).toBe(before);
  });

  it("padding changes nothing to 1e-12, whatever ids stand in it", async () => {
    const { config, store, ids, length } = await loadFixture("llama-mha");
    const first = ids.slice(0, length);
    const short = ids.slice(length, length + 7);
    const padded = Int32Array.from([...first, ...short, ...Array<number>(length - 7).fill(-7)]);
    const together = await gateGradients(config, store, [{ ids: padded, batch: 2, length, lengths: [length, 7] }]);
    const apart = await gateGradients(config, store, [
      { ids: first, batch: 1, length },
      { ids: short, batch: 1, length: 7 },
    ]);
    expect(together.tokens).toBe(apart.tokens);
    for (const { block, value } of together.blocks) {
      expect(Math.abs(value - apart.blocks[block]!.value)).toBeLessThanOrEqual(1e-12);
    }
  });

  it("refuses a sequence of one token, and weights that are not finite", async () => {
    const { config, store, ids } = await loadFixture("llama-mha");
    const one = [{ ids: ids.slice(0, 1), batch: 1, length: 1 }];
    await expect(gateGradients(config, store, one)).rejects.toThrow(/at least 2 tokens, sequence 0 has 1/);
    await changeWeight(store, "model.layers.1.mlp.down_proj.weight", () => Infinity);
    const two = [{ ids: ids.slice(0, 2), batch: 1, length: 2 }];
    await expect(gateGradients(config, store, two)).rejects.toThrow(/gradient at block \d is not finite/);
  });
});
