import { expect, it } from "vitest";
import { ExactProduct } from "../src/product-check.js";

/** C in f64, element by element. */
function product(
  m: number,
  n: number,
  k: number,
  a: (i: number, p: number) => number,
  b: (p: number, j: number) => number,
) {
  return Float32Array.from({ length: m * n }, (_, at) => {
    let sum = 0;
    for (let p = 0; p < k; p++) sum += a(Math.floor(at / n), p) * b(p, at % n);
    return sum;
  });
}

it.each([
  [false, false],
  [false, true],
  [true, false],
  [true, true],
])(
  "takes products for right, transposed or not (%s, %s), and a wrong or missing element for wrong",
  (transposeA, transposeB) => {
    const [m, n, k] = [19, 23, 29];
    const exact = new ExactProduct({ m, n, k, transposeA, transposeB, bf16A: false, bf16B: false });
    const c = product(
      m,
      n,
      k,
      (i, p) => exact.a[transposeA ? p * m + i : i * k + p]!,
      (p, j) => exact.b[transposeB ? j * k + p : p * n + j]!,
    );
    expect(exact.is(c)).toBe(true);
    for (const wrong of [c[100]! + 1 / 64, 0, NaN, Infinity]) {
      const other = Float32Array.from(c);
      other[100] = wrong;
      expect(exact.is(other)).toBe(false);
    }
    const transposed = product(
      m,
      n,
      k,
      (i, p) => exact.a[i * k + p]!,
      (p, j) => exact.b[p * n + j]!,
    );
    if (transposeA || transposeB) expect(exact.is(transposed)).toBe(false);
  },
);

it("operands are multiples of 1/8 within [−1, 1], so that f16 and bf16 hold them, all of them", () => {
  const exact = new ExactProduct({
    m: 64,
    n: 64,
    k: 64,
    transposeA: false,
    transposeB: false,
    bf16A: false,
    bf16B: false,
  });
  for (const values of [exact.a, exact.b]) {
    expect(values.every((value) => Math.abs(value) <= 1 && Number.isInteger(8 * value))).toBe(true);
    expect(new Set(values).size).toBe(17);
  }
});
