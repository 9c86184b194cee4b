import {
  blockName,
  blockTensors,
  encodeFromF32,
  decodeToF32,
  type FloatDtype,
  type ModelConfig,
} from "@slayer/checkpoint";
import { type Backend, Store } from "@slayer/tensor";

/** Weights that come from disk (say) when their turn comes, so that a model larger than the device's memory can be run. */
export interface StreamedWeights {
  readonly backend: Backend;
  /** All values of the tensor of this name, row-major. */
  read(name: string): Promise<Float32Array>;
}

/** Where a block's weights stand: in `store`, under the names of block `index`. */
export interface PlacedBlock {
  readonly store: Store;
  readonly index: number;
}

/**
 * Puts the weights of one stage of a model into device memory. With a `Store` they are all there already, and only the mean
 * of two blocks takes more; with `StreamedWeights` there is never more than one block, or one vocabulary matrix and the
 * final norm. What the checkpoint stores as BF16 lies there as bf16 where the backend has the type, as `loadWeights` lays
 * it. Host memory: the f32 values of at most two blocks. Free it after use.
 */
export class StageWeights {
  readonly backend: Backend;
  readonly #config: ModelConfig;
  readonly #resident: Store | undefined;
  readonly #read: (name: string) => Promise<Float32Array>;
  readonly #storedAs: (name: string) => FloatDtype;
  /** Holds one block's weights under the names of block 0. */
  #slot: Store | undefined;
  /** Of its tensors, in order. */
  #slotTypes = "";
  /** What the slot holds: a block, or the mean of a block and the next. */
  #inSlot = "";
  #outer: { name: string; store: Store } | undefined;
  readonly #host = new Map<number, Map<string, Float32Array>>();

  constructor(config: ModelConfig, weights: Store | StreamedWeights, storedAs: (name: string) => FloatDtype) {
    this.#config = config;
    this.#storedAs = storedAs;
    this.#resident = weights instanceof Store ? weights : undefined;
    this.backend = weights.backend;
    this.#read = (name) => weights.read(name) as Promise<Float32Array>;
  }

  /** Weights outside the blocks, under their own names. */
  async outer(shapes: ReadonlyMap<string, readonly number[]>): Promise<Store> {
    if (this.#resident) return this.#resident;
    const name = [...shapes.keys()].join();
    if (this.#outer?.name === name) return this.#outer.store;
    this.free();
    const store = new Store(this.backend);
    this.#outer = { name, store };
    for (const [tensor, shape] of shapes) {
      store.add({ name: tensor, shape, dtype: this.#typeOf(tensor) });
      await store.write(tensor, await this.#read(tensor));
    }
    return store;
  }

  /** Block l of the model. */
  async block(l: number): Promise<PlacedBlock> {
    for (const known of this.#host.keys()) if (known !== l && known !== l + 1) this.#host.delete(known);
    if (this.#resident) return { store: this.#resident, index: l };
    return this.#fill(`block ${l}`, l, await this.#values(l));
  }

  /**
   * The mean of blocks l and l + 1: every tensor, norms included, computed in f64, rounded to f32 and then to the type in
   * which the checkpoint stores it, as surgery does.
   */
  async average(l: number): Promise<PlacedBlock> {
    if (this.#inSlot === `mean ${l}`) return { store: this.#slot!, index: 0 };
    const [values, next] = [await this.#values(l), await this.#values(l + 1)];
    const means = new Map<string, Float32Array>();
    for (const [suffix, a] of values) {
      const b = next.get(suffix)!;
      const dtype = this.#storedAs(blockName(l, suffix));
      const mean = new Float32Array(a.length);
      for (let i = 0; i < mean.length; i++) mean[i] = (a[i]! + b[i]!) / 2;
      means.set(suffix, dtype === "F32" || dtype === "F64" ? mean : decodeToF32(encodeFromF32(mean, dtype), dtype));
    }
    return this.#fill(`mean ${l}`, l, means);
  }

  /** Frees what it has put into device memory; programs bound to it must not run afterwards. */
  free(): void {
    this.#slot?.free();
    this.#outer?.store.free();
    this.#slot = this.#outer = undefined;
    this.#inSlot = "";
  }

  async #values(l: number): Promise<Map<string, Float32Array>> {
    const known = this.#host.get(l);
    if (known) return known;
    const values = new Map<string, Float32Array>();
    for (const suffix of blockTensors(this.#config).keys()) {
      values.set(suffix, await this.#read(blockName(l, suffix)));
    }
    this.#host.set(l, values);
    return values;
  }

  #typeOf(name: string): "f32" | "bf16" {
    const kept = this.#storedAs(name) === "BF16" && this.backend.capabilities.dtypes.includes("bf16");
    return kept ? "bf16" : "f32";
  }

  /** `values` take the types of block l. */
  async #fill(what: string, l: number, values: ReadonlyMap<string, Float32Array>): Promise<PlacedBlock> {
    const shapes = blockTensors(this.#config);
    const types = [...shapes.keys()].map((suffix) => this.#typeOf(blockName(l, suffix)));
    if (!this.#slot || this.#slotTypes !== types.join()) {
      this.free();
      this.#slot = new Store(this.backend);
      this.#slotTypes = types.join();
      for (const [i, [suffix, shape]] of [...shapes].entries()) {
        this.#slot.add({ name: blockName(0, suffix), shape, dtype: types[i]! });
      }
    }
    if (this.#inSlot !== what) {
      this.#inSlot = ""; // half written if a write fails
      for (const [suffix, tensor] of values) await this.#slot.write(blockName(0, suffix), tensor);
      this.#inSlot = what;
    }
    return { store: this.#slot, index: 0 };
  }
}
