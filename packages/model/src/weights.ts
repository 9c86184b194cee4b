import { type Checkpoint, expectedTensors } from "@slayer/checkpoint";
import type { Store } from "@slayer/tensor";

/**
 * Reads every weight of the checkpoint into the store as f32, one tensor in memory at a time. Weights that the store
 * has already (because the caller laid them out) are written in place, the others added.
 */
export async function loadWeights(
  checkpoint: Checkpoint,
  store: Store,
  options: { onProgress?: (done: number, total: number) => void; signal?: AbortSignal } = {},
): Promise<void> {
  const expected = expectedTensors(checkpoint.config);
  checkpoint.validate(expected);
  let done = 0;
  for (const [name, shape] of expected) {
    options.signal?.throwIfAborted();
    if (!store.has(name)) store.add({ name, shape, dtype: "f32" });
    await store.write(name, await checkpoint.readF32(name));
    options.onProgress?.(++done, expected.size);
  }
}
