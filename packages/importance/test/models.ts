import { fileURLToPath } from "node:url";
import { Checkpoint, type ModelConfig } from "@slayer/checkpoint";
import { loadWeights } from "@slayer/model";
import { type Backend, createReferenceBackend, Store } from "@slayer/tensor";
import { readFixture } from "../../../test/support/safetensors.js";

export const fixtures = fileURLToPath(new URL("../../../test/fixtures/models/", import.meta.url));

export interface Fixture {
  config: ModelConfig;
  store: Store;
  ids: Int32Array;
  batch: number;
  length: number;
  expected: Awaited<ReturnType<typeof readFixture>>;
}

/** A small checkpoint written by Transformers, its weights in a store, and what Transformers computes from it. */
export async function loadFixture(name: string, backend: Backend = createReferenceBackend()): Promise<Fixture> {
  const checkpoint = await Checkpoint.open(fixtures + name);
  const store = new Store(backend);
  await loadWeights(checkpoint, store);
  await checkpoint.close();
  const expected = await readFixture(`${fixtures}${name}/expected.safetensors`);
  const { data, shape } = expected.get("input_ids")!;
  const [batch, length] = shape as [number, number];
  return { config: checkpoint.config, store, ids: data as Int32Array, batch, length, expected };
}

/** Overwrites one weight, each element by what `change` makes of it. */
export async function changeWeight(store: Store, name: string, change: (value: number) => number): Promise<void> {
  await store.write(name, (await store.read(name)).map(change));
}

/** Largest absolute difference; NaN anywhere, or unequal lengths, give no number. */
export function largestDifference(a: readonly number[], b: readonly number[]): number {
  return a.length === b.length ? Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) : NaN;
}
