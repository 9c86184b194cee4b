/**
 * Ways to compute a matrix product. tiled4, tiled8: kernels/matmul/matmul.wgsl with 4 × 4 or 8 × 8 results per thread; rows:
 * kernels/matmul/matmul_rows.wgsl.
 */
export const variants = ["tiled4", "tiled8", "rows"] as const;

export type Variant = (typeof variants)[number];

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
 * Those worth trying for this product; the first is taken where nothing was measured. Workgroup memory is no faster than other on the
 * processor, so there is nothing to choose from.
 */
export function candidates(shape: ProductShape, software: boolean): Variant[] {
  if (software) return ["rows"];
  const { m, n } = shape;
  const worthwhile: Variant[] = m >= 128 && n >= 128 ? ["tiled8", "tiled4", "rows"] : ["tiled4", "rows"];
  return worthwhile.filter((variant) => possible(variant, shape));
}

/** Whether a product can be computed so at all: rows reads A in f32. */
export function possible(variant: Variant, { bf16A }: ProductShape): boolean {
  return variant !== "rows" || !bf16A;
}
