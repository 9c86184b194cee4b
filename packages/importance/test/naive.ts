import { blockName, blockTensors, expectedTensors, type ModelConfig, parseConfig } from "@slayer/checkpoint";
import type { Change, SequenceBatch } from "@slayer/importance";
import { forward, forwardInputs } from "@slayer/model";
import { type Backend, createReferenceBackend, Graph, lmHeadLoss, Program, Store } from "@slayer/tensor";

export const ALL: readonly Change[] = ["removal", "copy", "average"];

/** What stands at each place of a variant: block a, or the mean of blocks a and b. */
type Recipe = readonly (readonly [a: number, b?: number])[];

export function recipe(L: number, change: Change | "none", l: number): Recipe {
  const base = Array.from({ length: L }, (_, i): [number] => [i]);
  if (change === "removal") return base.toSpliced(l, 1);
  if (change === "copy") return base.toSpliced(l + 1, 0, [l]);
  return change === "average" ? base.toSpliced(l + 1, 0, [l, l + 1] as never) : base;
}

/** Summed loss of each row of a model put together whole and run whole. */
export async function naive(
  config: ModelConfig,
  weights: Store,
  blocks: Recipe,
  batch: SequenceBatch,
): Promise<number[]> {
  const store = new Store(createReferenceBackend());
  const add = async (name: string, shape: readonly number[], values: Float32Array) => {
    store.add({ name, shape, dtype: "f32" });
    await store.write(name, values);
  };
  const read = async (name: string) => (await weights.read(name)) as Float32Array;
  for (const [name, shape] of expectedTensors({ ...config, blocks: 0 })) await add(name, shape, await read(name));
  for (const [l, [a, b]] of blocks.entries()) {
    for (const [suffix, shape] of blockTensors(config)) {
      const first = await read(blockName(a, suffix));
      const second = b === undefined ? first : await read(blockName(b, suffix));
      const mean = first.map((value, i) => Math.fround(Math.fround(value + second[i]!) / 2));
      await add(blockName(l, suffix), shape, mean);
    }
  }
  const changed = { ...config, blocks: blocks.length };
  const graph = new Graph();
  const { final, head } = forward(graph, changed, batch);
  const targets = graph.input("targets", [batch.batch, batch.length], "i32");
  const program = await Program.compile(graph, { nll: lmHeadLoss(final, head, targets) }, store);
  const T = batch.length;
  const next = batch.ids.map((_, i) => ((i + 1) % T === 0 ? -100 : batch.ids[i + 1]!));
  await program.run({ ...forwardInputs(changed, batch.ids, batch), targets: next });
  const nll = await program.read("nll");
  return Array.from({ length: batch.batch }, (_, b) =>
    Array.from(nll.subarray(b * T, (b + 1) * T)).reduce((x, y) => x + y, 0),
  );
}

/** Drops, as blockDrops defines them, from whole runs. */
export async function naiveDrops(config: ModelConfig, weights: Store, batches: SequenceBatch[], change: Change) {
  const L = config.blocks;
  const values: number[] = [];
  const rows = async (which: Recipe) => {
    const all: number[] = [];
    for (const batch of batches) all.push(...(await naive(config, weights, which, batch)));
    return all;
  };
  const base = await rows(recipe(L, "none", 0));
  const tokens = batches.reduce((sum, { batch, length }) => sum + batch * (length - 1), 0);
  for (let l = 0; l < (change === "average" ? L - 1 : L); l++) {
    const after = await rows(recipe(L, change, l));
    values.push(after.map((loss, s) => loss - base[s]!).reduce((a, b) => a + b, 0) / tokens);
  }
  return { values, base: base.reduce((a, b) => a + b, 0) / tokens };
}

/** Uniform weights in ± 0.3, norms around 1; further keys go into the config. */
export async function randomModel(
  blocks: number,
  backend: Backend,
  D = 8,
  more: Record<string, unknown> = {},
): Promise<{ config: ModelConfig; store: Store }> {
  const geometry = { hidden_size: D, intermediate_size: 2 * D, num_attention_heads: 2, num_key_value_heads: 1 };
  const json = { model_type: "llama", vocab_size: 16, num_hidden_layers: blocks, ...geometry, ...more };
  const config = parseConfig(json, "config.json");
  const store = new Store(backend);
  let state = 1;
  const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;
  for (const [name, shape] of expectedTensors(config)) {
    const center = name.endsWith("norm.weight") ? 1 : 0;
    store.add({ name, shape, dtype: "f32" });
    const length = shape.reduce((a, b) => a * b);
    await store.write(
      name,
      Float32Array.from({ length }, () => center + 0.6 * uniform()),
    );
  }
  return { config, store };
}
