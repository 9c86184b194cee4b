import { type Checkpoint, CheckpointError, expectedTensors } from "@slayer/checkpoint";
import { type FloatDType, quantize, type QuantizedFormat, quantizedTypes, type Store } from "@slayer/tensor";

/** How a weight lies in a store: as one tensor of its name, or as codes and scales. */
export type WeightForm = FloatDType | QuantizedFormat;

/** Names of the two tensors that hold a quantized weight. */
export function quantizedNames(name: string, format: QuantizedFormat): { codes: string; scales: string } {
  return { codes: `${name}.${format}`, scales: `${name}.scales` };
}

/** Makes room in the store for a weight of this form; zeros, until it is written. */
export function addWeight(store: Store, name: string, shape: readonly number[], form: WeightForm): void {
  if (form !== "int8" && form !== "nf4") return store.add({ name, shape, dtype: form });
  const [names, types] = [quantizedNames(name, form), quantizedTypes(form, shape)];
  store.add({ name: names.codes, ...types.codes });
  store.add({ name: names.scales, ...types.scales });
}

/** Writes a weight in the form that the store has it in. Throws a RangeError for values that are not finite, if that is int8 or nf4. */
export async function writeWeight(
  store: Store,
  name: string,
  shape: readonly number[],
  values: Float32Array,
): Promise<void> {
  const format = formatIn(store, name);
  if (format === undefined) return store.write(name, values);
  const [names, quantized] = [quantizedNames(name, format), quantize(values, shape, format)];
  await store.write(names.codes, quantized.codes);
  await store.write(names.scales, quantized.scales);
}

function formatIn(store: Store, name: string): QuantizedFormat | undefined {
  return (["int8", "nf4"] as const).find((format) => store.has(quantizedNames(name, format).codes));
}

export interface LoadOptions {
  /** Tensors that the checkpoint stores as BF16 stay bf16: the same numbers in half the memory. Default: all become f32. */
  bf16?: boolean;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Reads every weight of the checkpoint into the store, one tensor in memory at a time. Weights that the store has already
 * (because the caller laid them out) are written in place, in the form they have there; the others are added.
 */
export async function loadWeights(checkpoint: Checkpoint, store: Store, options: LoadOptions = {}): Promise<void> {
  const expected = expectedTensors(checkpoint.config);
  checkpoint.validate(expected);
  let done = 0;
  for (const [name, shape] of expected) {
    options.signal?.throwIfAborted();
    const asStored = checkpoint.info(name).dtype === "BF16";
    const there = store.has(name) || formatIn(store, name) !== undefined;
    if (!there) store.add({ name, shape, dtype: options.bf16 && asStored ? "bf16" : "f32" });
    if (asStored && store.has(name) && store.type(name).dtype === "bf16") {
      await store.write(name, new Uint16Array((await checkpoint.read(name)).buffer));
    } else {
      await writeWeight(store, name, shape, await checkpoint.readF32(name)).catch((error: unknown) => {
        if (!(error instanceof RangeError)) throw error;
        throw new CheckpointError("unsupported", checkpoint.dir, `cannot be quantized: ${error.message}`, name);
      });
    }
    options.onProgress?.(++done, expected.size);
  }
}

/** The form of each weight where it lies, for `ForwardOptions.weights`: in the first store that has it. */
export function typesIn(stores: Store | readonly Store[]): (name: string) => WeightForm {
  return (name) => {
    for (const store of [stores].flat()) {
      if (store.has(name)) return store.type(name).dtype as FloatDType;
      const format = formatIn(store, name);
      if (format !== undefined) return format;
    }
    return "f32";
  };
}
