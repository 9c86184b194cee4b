import type { TypedArray } from "../dtype.js";

// One scratch per operand, grown as needed: packing costs O(mk + kn) beside O(mnk) work, allocating each time costs more.
const scratch = [new Float64Array(0), new Float64Array(0)];

/**
 * The matrix [r, c] in `source` as f64, transposed to [c, r] if asked. Both operands of matmulF64 then have their
 * inner dimension contiguous, whatever the transpositions. The result is valid until the same `slot` is packed again.
 */
export function packF64(source: TypedArray, r: number, c: number, transpose: boolean, slot: 0 | 1): Float64Array {
  const n = r * c;
  if (scratch[slot]!.length < n) scratch[slot] = new Float64Array(n);
  const out = scratch[slot]!;
  if (!transpose) {
    for (let i = 0; i < n; i++) out[i] = source[i]!;
    return out;
  }
  const tile = 32;
  for (let i0 = 0; i0 < r; i0 += tile) {
    const i1 = Math.min(i0 + tile, r);
    for (let j0 = 0; j0 < c; j0 += tile) {
      const j1 = Math.min(j0 + tile, c);
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) out[j * r + i] = source[i * c + j]!;
    }
  }
  return out;
}

/** The transpose [c, r] of the first r·c elements. */
export function transposed(source: Float64Array, r: number, c: number): Float64Array {
  const out = new Float64Array(r * c);
  for (let i = 0; i < r; i++) for (let j = 0; j < c; j++) out[j * r + i] = source[i * c + j]!;
  return out;
}

/**
 * C [m, n] = A [m, k]·Bᵀ with B [n, k]: each element one f64 dot product in order of k, rounded once on storing.
 * Two rows by four columns at a time: eight accumulators keep the scalar unit busy and stay in registers.
 */
export function matmulF64(a: Float64Array, b: Float64Array, c: TypedArray, m: number, n: number, k: number): void {
  const m2 = m & ~1;
  const n4 = n & ~3;
  for (let i = 0; i < m2; i += 2) {
    const a0 = i * k;
    const a1 = a0 + k;
    for (let j = 0; j < n4; j += 4) {
      const b0 = j * k;
      const b1 = b0 + k;
      const b2 = b1 + k;
      const b3 = b2 + k;
      let c00 = 0,
        c01 = 0,
        c02 = 0,
        c03 = 0;
      let c10 = 0,
        c11 = 0,
        c12 = 0,
        c13 = 0;
      for (let p = 0; p < k; p++) {
        const x0 = a[a0 + p]!;
        const x1 = a[a1 + p]!;
        const y0 = b[b0 + p]!;
        const y1 = b[b1 + p]!;
        const y2 = b[b2 + p]!;
        const y3 = b[b3 + p]!;
        c00 += x0 * y0;
        c01 += x0 * y1;
        c02 += x0 * y2;
        c03 += x0 * y3;
        c10 += x1 * y0;
        c11 += x1 * y1;
        c12 += x1 * y2;
        c13 += x1 * y3;
      }
      const o = i * n + j;
      c[o] = c00;
      c[o + 1] = c01;
      c[o + 2] = c02;
      c[o + 3] = c03;
      c[o + n] = c10;
      c[o + n + 1] = c11;
      c[o + n + 2] = c12;
      c[o + n + 3] = c13;
    }
    for (let j = n4; j < n; j++) {
      c[i * n + j] = dot(a, a0, b, j * k, k);
      c[i * n + n + j] = dot(a, a1, b, j * k, k);
    }
  }
  if (m2 < m) for (let j = 0; j < n; j++) c[m2 * n + j] = dot(a, m2 * k, b, j * k, k);
}

function dot(a: Float64Array, i: number, b: Float64Array, j: number, k: number): number {
  let sum = 0;
  for (let p = 0; p < k; p++) sum += a[i + p]! * b[j + p]!;
  return sum;
}
