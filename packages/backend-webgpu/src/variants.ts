/**
 * Ways to compute a matrix product.
 *
 * - tiled4, tiled8: kernels/matmul/matmul.wgsl with 4 × 4 or 8 × 8 results per thread; half4, half8: the same on operands rounded to f16
 * - rows: kernels/matmul/matmul_rows.wgsl
 * - matrix: kernels/matmul/matmul_matrix.wgsl on the device's matrix units; emulated: on one of plain loops, for tests
 */
export const variants = ["tiled4", "tiled8", "half4", "half8", "rows", "matrix", "emulated"] as const;

export type Variant = (typeof variants)[number];

/** Matrices that a subgroup's lanes multiply together: [m, k]·[k, n], results in f32. */
export interface MatrixUnit {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Whether it takes f16, else f32. */
  readonly half: boolean;
  /** Of the largest subgroups. */
  readonly lanes: number;
  /** The feature by the name under which the adapter has it; WebGPU's types know neither name yet. */
  readonly feature: string;
}

/** What of a device decides which variants there are. */
export interface ProductTraits {
  /** Whether shaders run on the processor. */
  readonly software: boolean;
  /** Whether shaders may use f16, and products may be of operands rounded to it. */
  readonly half: boolean;
  readonly matrixUnit: MatrixUnit | undefined;
}

/** What the best variant may depend on. */
export interface ProductShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly bf16A: boolean;
  readonly bf16B: boolean;
}

/** Sizes are taken alike up to the nearest power of two, and beyond 4096 each. */
export function classOf({ m, n, k, transposeA, transposeB, bf16A, bf16B }: ProductShape): string {
  const layout = `${transposeA ? "T" : "N"}${transposeB ? "T" : "N"}`;
  const types = `${bf16A ? "bf16" : "f32"}·${bf16B ? "bf16" : "f32"}`;
  return `${layout} ${[m, n, k].map(rounded).join("×")} ${types}`;
}

/** A shape of the same class. */
export function typical({ m, n, k, ...rest }: ProductShape): ProductShape {
  return { m: rounded(m), n: rounded(n), k: rounded(k), ...rest };
}

const rounded = (size: number): number => 2 ** Math.min(12, Math.round(Math.log2(size)));

/**
 * Those worth trying for this product; the first is taken where nothing was measured, and is none that rounds. Workgroup memory is no faster
 * than other on the processor, so there is nothing to choose from.
 */
export function candidates(shape: ProductShape, traits: ProductTraits): Variant[] {
  if (traits.software) return ["rows"];
  const large = shape.m >= 128 && shape.n >= 128;
  const worthwhile: Variant[] = large
    ? ["tiled8", "tiled4", "rows", "half8", "half4", "matrix"]
    : ["tiled4", "rows", "half4", "matrix"];
  return worthwhile.filter((variant) => possible(variant, shape, traits));
}

/** Whether a product can be computed so at all. */
export function possible(variant: Variant, { bf16A }: ProductShape, { half, matrixUnit }: ProductTraits): boolean {
  switch (variant) {
    case "rows":
      return !bf16A; // it reads A in f32
    case "half4":
    case "half8":
      return half;
    case "matrix":
      return matrixUnit !== undefined;
    default:
      return true;
  }
}
