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
export class ExactProduct {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly #n: number;
  readonly #x: Float64Array;
  readonly #expected: Float64Array;

  constructor({ m, n, k, transposeA, transposeB }: ProductShape) {
    this.a = eighths(m * k, 1);
    this.b = eighths(k * n, 2);
    this.#n = n;
    this.#x = Float64Array.from({ length: n }, () => 1 + Math.floor(1000 * Math.random()));
    const y = times({ values: this.b, columns: transposeB ? k : n, transposed: transposeB }, this.#x);
    this.#expected = times({ values: this.a, columns: transposeA ? m : k, transposed: transposeA }, y);
  }

  /**
   * Whether C [m, n] is op(A)·op(B), by Freivalds' check (1977): C·x = op(A)·(op(B)·x) for a vector x of random integers from 1 to 1000,
   * here exactly. One wrong element of a row is always found; several make up for each other with a chance of 1 in 1000.
   */
  is(c: Float32Array): boolean {
    const found = times({ values: c, columns: this.#n, transposed: false }, this.#x);
    return found.every((value, i) => value === this.#expected[i]);
  }
}

/** A prime, so that no two rows of a usual length are the same. */
const PERIOD = 8191;

/** Such multiples, by a multiplicative generator (Park & Miller 1988), over and over: making millions would take seconds. */
function eighths(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < Math.min(PERIOD, count); i++) {
    state = (state * 48271) % 2147483647;
    values[i] = ((state % 17) - 8) / 8;
  }
  for (let filled = PERIOD; filled < count; filled *= 2) values.copyWithin(filled, 0, filled);
  return values;
}

/** In f64. */
function times({ values, columns, transposed }: Matrix, x: Float64Array): Float64Array {
  const rows = values.length / columns;
  const y = new Float64Array(transposed ? columns : rows);
  for (let row = 0, at = 0; row < rows; row++) {
    if (transposed) {
      const factor = x[row]!;
      for (let column = 0; column < columns; column++, at++) y[column]! += values[at]! * factor;
    } else {
      let sum = 0;
      for (let column = 0; column < columns; column++, at++) sum += values[at]! * x[column]!;
      y[row] = sum;
    }
  }
  return y;
}
