import type { Backend, Buffer, Region } from "./backend.js";
import { byteSize, decode, encode, isOf, type TypedArray } from "./dtype.js";
import { ALIGNMENT } from "./planner.js";
import { byteLength, formatType, size, type TensorType } from "./shape.js";

type NamedType = TensorType & { readonly name: string };

/** Elements: the fewest that are aligned in every type. */
const PADDED_TO = ALIGNMENT / byteSize("bf16");

/** Named tensors in a backend's memory that outlive a run: weights, moments, caches. Programs bind to them by name. */
export class Store {
  readonly backend: Backend;
  readonly #tensors = new Map<string, TensorType & Region>();
  readonly #buffers: Buffer[] = [];

  constructor(backend: Backend) {
    this.backend = backend;
  }

  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Bytes allocated in all. */
  get bytes(): number {
    return this.#buffers.reduce((total, buffer) => total + buffer.bytes, 0);
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Adds one zeroed tensor in a buffer of its own. */
  add(type: NamedType): void {
    this.addRange([type]);
  }

  /**
   * Adds zeroed tensors of one type one after the other in one buffer, each on an aligned offset; with `flatName` the whole
   * range is also one flat tensor of that name, its length returned. The padding between tensors is part of it and stays
   * whatever is written there (zero under AdamW with zero gradients). Ranges of tensors of the same shapes have the same
   * layout, in elements, whatever their type.
   */
  addRange(types: readonly NamedType[], flatName?: string): number {
    const dtype = types[0]?.dtype ?? "f32";
    if (types.some((type) => type.dtype !== dtype)) throw new Error(`tensors of one range must be of one type`);
    const lengths = types.map(({ shape }) => Math.ceil(size(shape) / PADDED_TO) * PADDED_TO);
    const length = lengths.reduce((total, n) => total + n, 0);
    const buffer = this.backend.allocate(length * byteSize(dtype));
    this.#buffers.push(buffer);
    let offset = 0;
    types.forEach(({ name, shape }, i) => {
      this.#set(name, { shape, dtype, buffer, offset });
      offset += lengths[i]! * byteSize(dtype);
    });
    if (flatName === undefined) return 0;
    this.#set(flatName, { shape: [length], dtype, buffer, offset: 0 });
    return length;
  }

  /** The memory of `name`, checked against the type the plan expects. */
  region(name: string, expected: TensorType): Region {
    const tensor = this.#get(name);
    if (formatType(tensor) !== formatType(expected)) {
      throw new Error(`'${name}' is ${formatType(tensor)} in the store, but the plan expects ${formatType(expected)}`);
    }
    return tensor;
  }

  type(name: string): TensorType {
    return this.#get(name);
  }

  /** Elements before the tensor in its range. */
  offset(name: string): number {
    const { offset, dtype } = this.#get(name);
    return offset / byteSize(dtype);
  }

  /** Overwrites the whole tensor. A bf16 tensor takes f32 values, which are rounded to nearest even, or raw bits. */
  async write(name: string, values: TypedArray | Uint16Array): Promise<void> {
    const tensor = this.#get(name);
    if (values.length !== size(tensor.shape) || !isOf(values, tensor.dtype)) {
      throw new Error(`'${name}' is ${formatType(tensor)}, got ${values.constructor.name}(${values.length})`);
    }
    await this.backend.write(tensor.buffer, tensor.offset, encode(values, tensor.dtype));
  }

  /** The tensor's values; those of bf16 as f32. */
  async read(name: string): Promise<TypedArray> {
    const tensor = this.#get(name);
    const bytes = await this.backend.read(tensor.buffer, tensor.offset, byteLength(tensor));
    return decode(bytes, tensor.dtype, size(tensor.shape));
  }

  /** Frees all buffers; the store is empty afterwards. */
  free(): void {
    for (const buffer of this.#buffers) this.backend.free(buffer);
    this.#buffers.length = 0;
    this.#tensors.clear();
  }

  #set(name: string, tensor: TensorType & Region): void {
    if (this.#tensors.has(name)) throw new Error(`the store already has a tensor named '${name}'`);
    this.#tensors.set(name, tensor);
  }

  #get(name: string): TensorType & Region {
    const tensor = this.#tensors.get(name);
    if (!tensor) throw new Error(`the store has no tensor named '${name}'`);
    return tensor;
  }
}
