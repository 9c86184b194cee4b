import { expect, it } from "vitest";
import { exactOperands, isProduct } from "../src/product-check.js";

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
    const { a, b } = exactOperands({ m, n, k, transposeA, transposeB, bf16A: false, bf16B: false });
    const c = product(
      m,
      n,
      k,
      (i, p) => a.values[transposeA ? p * m + i : i * k + p]!,
      (p, j) => b.values[transposeB ? j * k + p : p * n + j]!,
    );
    expect(isProduct(a, b, c, n)).toBe(true);
    for (const wrong of [c[100]! + 1 / 64, 0, NaN, Infinity]) {
      const other = Float32Array.from(c);
      other[100] = wrong;
      // Each x lets an error through that it multiplies with 0: 1 in 1000.
      expect([1, 2, 3].some(() => !isProduct(a, b, other, n))).toBe(true);
    }
    const transposed = product(
      m,
      n,
      k,
      (i, p) => a.values[i * k + p]!,
      (p, j) => b.values[p * n + j]!,
    );
    if (transposeA || transposeB) expect(isProduct(a, b, transposed, n)).toBe(false);
  },
);

it("operands are multiples of 1/8 within [−1, 1], so that f16 and bf16 hold them, and none is like the others", () => {
  const { a, b } = exactOperands({
    m: 64,
    n: 64,
    k: 64,
    transposeA: false,
    transposeB: false,
    bf16A: false,
    bf16B: false,
  });
  for (const { values } of [a, b]) {
    expect(values.every((value) => Math.abs(value) <= 1 && Number.isInteger(8 * value))).toBe(true);
    expect(new Set(values).size).toBe(17);
  }
});
