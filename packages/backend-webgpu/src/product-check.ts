import type { ProductShape } from "./variants.js";

/** A matrix as it lies in memory, rows of `columns`, to be read transposed or not. */
interface Matrix {
  readonly values: Float32Array;
  readonly columns: number;
  readonly transposed: boolean;
}

/**
 * Matrices whose product every way of computing it must give exactly: multiples of 1/8 from −1 to 1, which f16 and bf16 hold, so that
 * products are multiples of 1/64, and sums of up to 2¹⁸ of them exact in f32 in any order.
 */
export function exactOperands({ m, n, k, transposeA, transposeB }: ProductShape): { a: Matrix; b: Matrix } {
  return {
    a: { values: eighths(m * k, 1), columns: transposeA ? m : k, transposed: transposeA },
    b: { values: eighths(k * n, 2), columns: transposeB ? k : n, transposed: transposeB },
  };
}

/** Such multiples, by a multiplicative generator (Park & Miller 1988). */
function eighths(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (state * 48271) % 2147483647;
    values[i] = ((state % 17) - 8) / 8;
  }
  return values;
}

/**
 * Whether C [m, n] is op(A)·op(B), by Freivalds' check (1977): C·x = op(A)·(op(B)·x) for a vector x of integers, here exactly. A wrong C
 * passes with a chance of 1 in 1000.
 */
export function isProduct(a: Matrix, b: Matrix, c: Float32Array, n: number): boolean {
  const x = Float64Array.from({ length: n }, () => Math.floor(1000 * Math.random()));
  const expected = times(a, times(b, x));
  return times({ values: c, columns: n, transposed: false }, x).every((value, i) => value === expected[i]);
}

/** In f64. */
function times({ values, columns, transposed }: Matrix, x: ArrayLike<number>): Float64Array {
  const rows = values.length / columns;
  const y = new Float64Array(transposed ? columns : rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column]!;
      if (transposed) y[column]! += value * x[row]!;
      else y[row]! += value * x[column]!;
    }
  }
  return y;
}
