import { ALIGNMENT, type Backend, type Buffer } from "@slayer/tensor";

/** All bits set: NaN as f32 and bf16, −1 as i32. Whatever is computed from it shows. */
const POISON = 0xff;
const GUARD_BYTES = ALIGNMENT;

export interface Range {
  /** For messages, e.g. "output 0". */
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
  /** Whether the kernel may change it. */
  readonly writable: boolean;
}

/** One buffer of a backend in which every range is surrounded by poison. */
export class GuardedMemory {
  readonly #ranges: Range[] = [];
  readonly #initial = new Map<Range, Uint8Array>();
  #bytes = GUARD_BYTES;
  #buffer: Buffer | undefined;

  /** Reserves a range; without `values` it holds poison until it is written. */
  add(name: string, bytes: number, writable: boolean, values?: ArrayBufferView): Range {
    const range = { name, offset: this.#bytes, bytes, writable };
    this.#ranges.push(range);
    if (values) this.#initial.set(range, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    this.#bytes += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT + GUARD_BYTES;
    return range;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get buffer(): Buffer {
    if (!this.#buffer) throw new Error("not allocated");
    return this.#buffer;
  }

  allocate(backend: Backend): void {
    this.#buffer = backend.allocate(this.#bytes);
  }

  /** Writes the values of all ranges, and poison everywhere else. */
  async reset(backend: Backend): Promise<void> {
    await backend.write(this.buffer, 0, this.#image());
  }

  read(backend: Backend, { offset, bytes }: Range): Promise<Uint8Array<ArrayBuffer>> {
    return backend.read(this.buffer, offset, bytes);
  }

  /** What was changed that may not be, in words. */
  async damage(backend: Backend): Promise<string[]> {
    const before = this.#image();
    const after = await backend.read(this.buffer, 0, this.#bytes);
    const problems: string[] = [];
    let guard = 0; // where the guard before the next range starts
    for (const range of this.#ranges) {
      const end = range.offset + range.bytes;
      problems.push(...changed(before, after, guard, range.offset, `the memory before ${range.name}`));
      if (!range.writable) problems.push(...changed(before, after, range.offset, end, `the values of ${range.name}`));
      guard = end;
    }
    problems.push(...changed(before, after, guard, this.#bytes, "the memory after the last operand"));
    return problems;
  }

  free(backend: Backend): void {
    if (this.#buffer) backend.free(this.#buffer);
  }

  #image(): Uint8Array {
    const image = new Uint8Array(this.#bytes).fill(POISON);
    for (const [range, values] of this.#initial) image.set(values, range.offset);
    return image;
  }
}

function changed(before: Uint8Array, after: Uint8Array, from: number, to: number, what: string): string[] {
  let count = 0;
  let first = -1;
  for (let i = from; i < to; i++) {
    if (before[i] === after[i]) continue;
    if (first < 0) first = i - from;
    count++;
  }
  return count === 0 ? [] : [`changed ${what}: ${count} of ${to - from} bytes, the first at ${first}`];
}
