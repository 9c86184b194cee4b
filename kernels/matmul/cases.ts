import { type KernelCase, normal } from "../case.js";

const tolerance = { value: 1e-5, reason: "f32 sums of up to 3072 products: about √3072·2⁻²⁴ = 3e-6" };

/** C [m, n] = op(A)·op(B) with inner extent k; letters N and T as in BLAS. */
function matmulCase(layout: "NN" | "NT" | "TN" | "TT", m: number, n: number, k: number, bench?: true): KernelCase {
  const [transposeA, transposeB] = [layout[0] === "T", layout[1] === "T"];
  return {
    name: `matmul ${layout} ${m}×${n}×${k}`,
    op: "matmul",
    attrs: { transposeA, transposeB },
    inputs: [transposeA ? normal(k, m) : normal(m, k), transposeB ? normal(n, k) : normal(k, n)],
    tolerance,
    ...(bench && { bench }),
  };
}

const layouts = ["NN", "NT", "TN", "TT"] as const;

/** Forward NT, gradient to activations NN, gradient to weights TN, as a linear layer with W [n, k] needs them. */
export const cases: readonly KernelCase[] = [
  ...layouts.flatMap((layout) => [
    matmulCase(layout, 1, 1, 1),
    matmulCase(layout, 3, 5, 7),
    matmulCase(layout, 17, 33, 65),
    matmulCase(layout, 64, 64, 64),
    matmulCase(layout, 136, 264, 328), // several tiles
    matmulCase(layout, 136, 72, 328), // several steps of the inner extent, edges that are multiples of 8
  ]),
  matmulCase("NT", 1, 96, 257), // decoding: one row
  matmulCase("NT", 129, 1, 31),
  matmulCase("NN", 1, 131, 3),
  matmulCase("TN", 130, 66, 1), // inner extent 1: an outer product
  matmulCase("NT", 9, 130, 257), // short prompts
  matmulCase("NT", 16, 67, 1031),
  matmulCase("NT", 31, 130, 1031),
  {
    name: "matmul NT [2,3,5,19]×[23,19], leading dims as rows",
    op: "matmul",
    attrs: { transposeA: false, transposeB: true },
    inputs: [normal(2, 3, 5, 19), normal(23, 19)],
    tolerance,
  },
  {
    name: "matmul TN [2,9,21]ᵀ×[2,9,13], leading dims as rows",
    op: "matmul",
    attrs: { transposeA: true, transposeB: false },
    inputs: [normal(2, 9, 21), normal(2, 9, 13)],
    tolerance,
  },
  ...[256, 512, 768].map((d) => matmulCase("NT", 1024, d, d, true)),
  matmulCase("NT", 1024, 1408, 512, true), // gate_proj, up_proj
  matmulCase("NN", 1024, 512, 1408, true), // gradient to their input
  matmulCase("TN", 1408, 512, 1024, true), // gradient to their weight
  matmulCase("NT", 1, 768, 768, true),
  matmulCase("NT", 1, 3072, 768, true),
  matmulCase("NT", 1, 4096, 2048, true), // decoding, from memory
  matmulCase("NN", 1, 4096, 2048, true),
  matmulCase("NT", 8, 768, 3072, true),
  matmulCase("NT", 16, 4096, 2048, true),
  matmulCase("NT", 64, 4096, 2048, true),
];
