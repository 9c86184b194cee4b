import { type Checkpoint, expectedTensors } from "@slayer/checkpoint";
import type { FloatDType, Store } from "@slayer/tensor";

export interface LoadOptions {
  /** Tensors that the checkpoint stores as BF16 stay bf16: the same numbers in half the memory. Default: all become f32. */
  bf16?: boolean;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Reads every weight of the checkpoint into the store, one tensor in memory at a time. Weights that the store has already
 * (because the caller laid them out) are written in place, in the store's type; the others are added.
 */
export async function loadWeights(checkpoint: Checkpoint, store: Store, options: LoadOptions = {}): Promise<void> {
  const expected = expectedTensors(checkpoint.config);
  checkpoint.validate(expected);
  let done = 0;
  for (const [name, shape] of expected) {
    options.signal?.throwIfAborted();
    const asStored = checkpoint.info(name).dtype === "BF16";
    if (!store.has(name)) store.add({ name, shape, dtype: options.bf16 && asStored ? "bf16" : "f32" });
    const raw = asStored && store.type(name).dtype === "bf16";
    await store.write(
      name,
      raw ? new Uint16Array((await checkpoint.read(name)).buffer) : await checkpoint.readF32(name),
    );
    options.onProgress?.(++done, expected.size);
  }
}

/** The type of each weight where it lies, for `ForwardOptions.weights`: in the first store that has it. */
export function typesIn(stores: Store | readonly Store[]): (name: string) => FloatDType {
  return (name) => {
    const store = [stores].flat().find((s) => s.has(name));
    return (store?.type(name).dtype ?? "f32") as FloatDType;
  };
}
