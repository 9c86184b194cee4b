import { byteLength, type Kernel } from "@slayer/tensor";
import narrowKernel from "../../../kernels/webgpu/narrow.wgsl";
import widenKernel from "../../../kernels/webgpu/widen.wgsl";
import type { KernelSource, Specialisation } from "./specialise.js";
import type { ProductShape, ProductTraits, Variant } from "./variants.js";

/** What of a device the choice of kernels depends on. */
export interface DeviceTraits extends ProductTraits {
  /** Largest range that one binding may cover. */
  readonly bindingBytes: number;
  readonly workgroupsPerDimension: number;
  readonly workgroupStorageBytes: number;
  readonly invocations: number;
  /** Of the start of a binding. */
  readonly alignment: number;
  /** Sizes of subgroups that the device may use; undefined where it has none. */
  readonly subgroups: { readonly min: number; readonly max: number } | undefined;
  /** How to compute a matrix product. */
  readonly variant: (shape: ProductShape) => Variant;
}

/** A range of an operand of the op, or of the memory that its dispatches share. */
export interface Range {
  readonly of: "input" | "output" | "scratch";
  /** Of the operand; 0 for scratch. */
  readonly index: number;
  readonly offset: number;
  readonly bytes: number;
  /** Whether elements take two bytes, not four. */
  readonly half?: true;
}

/** One dispatch of one pipeline. */
export interface Dispatch extends Specialisation {
  readonly params: Readonly<Record<string, number>>;
  /** In the order of the shader's bindings. */
  readonly ranges: readonly Range[];
  readonly groups: readonly [number, number, number];
}

/** An op on operands of given sizes cannot be run on this device; the message says what it would need. */
export class LoweringError extends Error {
  override readonly name = "LoweringError";
}

const ALIGNMENT = 256;
/** Offsets of rows that are a multiple of this are aligned, whatever number of words a row holds. */
export const PANEL_ROWS = ALIGNMENT / 4;

/** Collects the dispatches of one op. */
export class Lowering {
  readonly dispatches: Dispatch[] = [];
  readonly kernel: Kernel;
  readonly device: DeviceTraits;
  #scratch = 0;
  readonly #widened = new Map<number, Range>();
  readonly #results = new Map<number, Range>();

  constructor(kernel: Kernel, device: DeviceTraits) {
    this.kernel = kernel;
    this.device = device;
  }

  /** Bytes of scratch memory that the dispatches share. */
  get scratchBytes(): number {
    return this.#scratch;
  }

  /** Operand `index` as it is stored. */
  stored(of: "input" | "output", index: number): Range {
    const type = (of === "input" ? this.kernel.inputs : this.kernel.outputs)[index]!;
    const range = { of, index, offset: 0, bytes: byteLength(type) };
    return type.dtype === "bf16" ? { ...range, half: true } : range;
  }

  /** Input `index` in four bytes an element: bf16 is widened into scratch memory first. */
  input(index: number): Range {
    const range = this.stored("input", index);
    if (!range.half) return range;
    const known = this.#widened.get(index);
    if (known) return known;
    const wide = this.scratch(2 * range.bytes);
    this.convert(widenKernel, range, wide);
    this.#widened.set(index, wide);
    return wide;
  }

  /** Output `index` in four bytes an element; bf16 is rounded from scratch memory by `finish`. */
  output(index: number): Range {
    const range = this.stored("output", index);
    if (!range.half) return range;
    const known = this.#results.get(index);
    if (known) return known;
    const wide = this.scratch(2 * range.bytes);
    this.#results.set(index, wide);
    return wide;
  }

  /** After the op's dispatches. */
  finish(): void {
    for (const [index, wide] of this.#results) this.convert(narrowKernel, wide, this.stored("output", index));
  }

  /** Between bf16 and f32: a kernel with one thread per pair of elements. */
  convert(kernel: KernelSource, x: Range, y: Range): void {
    const count = y.bytes / (y.half ? 2 : 4);
    const WORKGROUP = this.loose;
    this.panels(count, 1, (from, n) => {
      this.emit(kernel, {
        constants: { WORKGROUP },
        params: { count: n },
        ranges: [part(x, from, n), part(y, from, n)],
        groups: this.grid(Math.ceil(n / 2 / WORKGROUP)),
      });
    });
  }

  /** Memory for what one dispatch leaves to a later one. */
  scratch(bytes: number): Range {
    const offset = this.#scratch;
    this.#scratch += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    return { of: "scratch", index: 0, offset, bytes };
  }

  /** A power of two up to `most`, as many threads as make a good workgroup for kernels that wait for each other. */
  workgroup(most = 256): number {
    return this.#atMost(this.device.software ? 32 : most);
  }

  /** As many as make a good workgroup for kernels whose threads are on their own. On the processor each workgroup costs. */
  get loose(): number {
    return this.#atMost(this.device.software ? 1024 : 256);
  }

  #atMost(threads: number): number {
    let size = threads;
    while (size > this.device.invocations) size /= 2;
    return size;
  }

  /** `count` workgroups that a shader numbers by y·width + x. */
  grid(count: number): [number, number, number] {
    const most = this.device.workgroupsPerDimension;
    if (count <= most) return [count, 1, 1];
    const height = Math.ceil(count / most);
    return [Math.ceil(count / height), height, 1];
  }

  emit(
    kernel: KernelSource,
    dispatch: {
      flags?: readonly string[];
      constants?: Readonly<Record<string, number>>;
      params: Readonly<Record<string, number>>;
      ranges: readonly Range[];
      groups: readonly [number, number, number];
    },
  ): void {
    const { flags = [], constants = {}, params, ranges, groups } = dispatch;
    for (const { bytes, offset } of ranges) {
      if (offset % ALIGNMENT !== 0) {
        throw new LoweringError(
          `${kernel.name} would bind a panel at ${offset} bytes, no multiple of ${ALIGNMENT}; use sequences of a multiple of 64`,
        );
      }
      if (bytes > this.device.bindingBytes) {
        throw new LoweringError(
          `${kernel.name} would need ${bytes} bytes in one binding; this device binds up to ${this.device.bindingBytes}`,
        );
      }
    }
    const beyond = groups.find((n) => n > this.device.workgroupsPerDimension);
    if (beyond !== undefined) {
      throw new LoweringError(
        `${kernel.name} would need ${beyond} workgroups in one dimension; this device has up to ${this.device.workgroupsPerDimension}`,
      );
    }
    const all = this.device.subgroups ? [...flags, "SUBGROUP_REDUCE"] : flags;
    const used = all.filter((flag) => kernel.flags.includes(flag));
    const words = ranges.map((range) => ({ ...range, bytes: Math.ceil(range.bytes / 4) * 4 }));
    this.dispatches.push({ kernel, flags: used, constants, params, ranges: words, groups });
  }

  /**
   * A kernel over `count` elements of each of `elements`, four at a time if they come out even, in as many dispatches as its
   * bindings need. `whole` are bound as they are, after the others. `period`: elements of what repeats along them.
   */
  elementwise(
    kernel: KernelSource,
    count: number,
    elements: readonly Range[],
    options: {
      whole?: readonly Range[];
      params?: Readonly<Record<string, number>>;
      period?: { name: string; length: number };
    } = {},
  ): void {
    const { whole = [], params = {}, period } = options;
    const width = count % 4 === 0 && (period?.length ?? 0) % 4 === 0 ? 4 : 1;
    const unit = PANEL_ROWS * (period?.length ?? 1);
    const most = Math.max(unit, Math.floor(this.device.bindingBytes / 4 / unit) * unit);
    const workgroup = this.loose;
    for (let from = 0; from < count; from += most) {
      const n = Math.min(most, count - from);
      this.emit(kernel, {
        flags: width === 4 ? ["VEC4"] : [],
        constants: { WORKGROUP: workgroup },
        params: { count: n / width, ...params, ...(period && { [period.name]: period.length / width }) },
        ranges: [...elements.map((range) => part(range, from, n)), ...whole],
        groups: this.grid(Math.ceil(n / width / workgroup)),
      });
    }
  }

  /**
   * Calls `body` for panels of rows, each of which fits into a binding with rows of up to `columns` elements. All but the
   * last have a multiple of PANEL_ROWS rows.
   */
  panels(rows: number, columns: number, body: (from: number, count: number) => void): void {
    const unit = columns === 1 ? 2 * PANEL_ROWS : PANEL_ROWS; // single elements may take two bytes
    const fit = Math.floor(this.device.bindingBytes / 4 / columns / unit) * unit;
    const most = Math.max(fit, unit);
    for (let from = 0; from < rows; from += most) body(from, Math.min(most, rows - from));
  }
}

/** Elements from … from + count − 1 of a range; `from` must be aligned. */
export function part(range: Range, from: number, count: number): Range {
  const size = range.half ? 2 : 4;
  return { ...range, offset: range.offset + size * from, bytes: size * count };
}

/** Elements from … from + count − 1, in a range that begins at the aligned place before; `base` is where `from` is in it. */
export function windowOf(range: Range, from: number, count: number): { range: Range; base: number } {
  const base = from % (range.half ? 2 * PANEL_ROWS : PANEL_ROWS);
  return { range: part(range, from - base, base + count), base };
}
