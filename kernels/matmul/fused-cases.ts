import type { Attrs } from "@slayer/tensor";
import { type KernelCase, normal } from "../case.js";

const tolerance = { value: 1e-5, reason: "f32 sums of up to 1408 products: about √1408·2⁻²⁴ = 2e-6; one addition" };

const linear = { transposeA: false, transposeB: true };

/** y [m, n] = x [m, k]·Wᵀ + c: a block's output projection and the residual stream. */
const addCase = (m: number, n: number, k: number, bench?: true, attrs: Attrs = linear): KernelCase => ({
  name: `matmul_add ${attrs.transposeB ? "NT" : "NN"} ${m}×${n}×${k}`,
  op: "matmul_add",
  attrs,
  inputs: [normal(m, k), attrs.transposeB ? normal(n, k) : normal(k, n), normal(m, n)],
  tolerance,
  ...(bench && { bench }),
});

/** target [m, n] += dyᵀ·x over k tokens: a weight's gradient. */
const accumulateCase = (m: number, n: number, k: number, bench?: true): KernelCase => ({
  name: `matmul_accumulate TN ${m}×${n}×${k}`,
  op: "matmul_accumulate",
  attrs: { transposeA: true, transposeB: false },
  inputs: [normal(m, n), normal(k, m), normal(k, n)],
  tolerance,
  ...(bench && { bench }),
});

const swigluCase = (m: number, n: number, k: number, keep: boolean, bench?: true): KernelCase => ({
  name: `matmul_swiglu ${m}×${n}×${k}${keep ? ", products kept" : ""}`,
  op: "matmul_swiglu",
  attrs: { keep },
  inputs: [normal(m, k), normal(n, k), normal(n, k)],
  tolerance,
  ...(bench && { bench }),
});

export const cases: readonly KernelCase[] = [
  ...[
    [1, 1, 1],
    [17, 33, 65],
    [136, 264, 328], // several tiles, edges that are multiples of 8
    [1, 96, 256], // decoding
  ].flatMap(([m, n, k]) => [addCase(m!, n!, k!), accumulateCase(m!, n!, k!)]),
  addCase(40, 72, 136, undefined, { transposeA: false, transposeB: false }),
  ...[true, false].flatMap((keep) => [
    swigluCase(5, 7, 9, keep),
    swigluCase(136, 72, 328, keep),
    swigluCase(264, 200, 64, keep),
  ]),
  addCase(1024, 512, 1408, true),
  accumulateCase(1408, 512, 1024, true),
  swigluCase(1024, 1408, 512, true, true),
];
