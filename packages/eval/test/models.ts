import { fileURLToPath } from "node:url";
import { Checkpoint, expectedTensors, type ModelConfig } from "@slayer/checkpoint";
import { loadWeights } from "@slayer/model";
import { createReferenceBackend, Store } from "@slayer/tensor";
import { readFixture } from "../../../test/support/safetensors.js";

export const fixtures = fileURLToPath(new URL("../../../test/fixtures/models/", import.meta.url));

export interface Fixture {
  config: ModelConfig;
  store: Store;
  ids: Int32Array;
  batch: number;
  length: number;
  /** Mean over all tokens but the first of each sequence, by Transformers. */
  loss: number;
  /** [B·T, V], by Transformers. */
  logits: Float32Array;
}

/** A small checkpoint written by Transformers, its weights in a store, and what Transformers computes from it. */
export async function loadFixture(name: string): Promise<Fixture> {
  const checkpoint = await Checkpoint.open(fixtures + name);
  const store = new Store(createReferenceBackend());
  await loadWeights(checkpoint, store);
  await checkpoint.close();
  const expected = await readFixture(`${fixtures}${name}/expected.safetensors`);
  const { data, shape } = expected.get("input_ids")!;
  const [batch, length] = shape as [number, number];
  return {
    config: checkpoint.config,
    store,
    ids: data as Int32Array,
    batch,
    length,
    loss: expected.get("loss")!.data[0]!,
    logits: expected.get("logits")!.data as Float32Array,
  };
}

/** Overwrites one weight, each element by what `change` makes of it. */
export async function changeWeight(
  store: Store,
  name: string,
  change: (value: number, index: number) => number,
): Promise<void> {
  await store.write(name, (await store.read(name)).map(change));
}

/** The same weights with one block more at the end, a copy of block 0 whose output projections are `scale` times its own. */
export async function withExtraBlock(
  { config, store }: Fixture,
  scale: number,
): Promise<Pick<Fixture, "config" | "store">> {
  const larger = { ...config, blocks: config.blocks + 1 };
  const result = new Store(createReferenceBackend());
  for (const [name, shape] of expectedTensors(larger)) {
    const source = name.replace(`model.layers.${config.blocks}.`, "model.layers.0.");
    const factor = source !== name && /(o_proj|down_proj)/.test(name) ? scale : 1;
    result.add({ name, shape, dtype: "f32" });
    await result.write(
      name,
      (await store.read(source)).map((x) => x * factor),
    );
  }
  return { config: larger, store: result };
}
