import type { Tensor } from "../graph.js";
import { operandBytes, type OpDefinition } from "../op.js";
import { accumulatorOf } from "../dtype.js";
import { columns, compatible, expectShape, rows } from "../shape.js";
import { matmulF64, packF64 } from "./matmul-loops.js";

/**
 * C = op(A)·op(B), op(X) = X or Xᵀ. A tensor [..., D] is taken as the matrix [rows, D].
 * A: [..., K] gives C: [..., N]; with transposeA, A: [..., M] is read as [M, rows] and C is [M, N].
 * B: [K, N], or [N, K] with transposeB (a linear layer's weight, as checkpoints store it). C is of A's type, or f32 if
 * that is bf16 and `f32` asks for it; B's may differ.
 */
export function matmul(
  a: Tensor,
  b: Tensor,
  options: { transposeA?: boolean; transposeB?: boolean; f32?: boolean } = {},
): Tensor {
  const { transposeA = false, transposeB = false, f32 = false } = options;
  const attrs = { transposeA, transposeB, ...(f32 && { f32 }) };
  return a.graph.apply("matmul", [a, b], attrs)[0]!;
}

export const matmulOp: OpDefinition = {
  infer([a, b], { transposeA, transposeB, f32 }) {
    const k = transposeA ? rows(a!.shape) : columns(a!.shape);
    const [kB, n] = transposeB ? [columns(b!.shape), rows(b!.shape)] : [rows(b!.shape), columns(b!.shape)];
    expectShape(compatible(a!, b!), "matmul", "operands of one type, or f32 and bf16", a!, b!);
    expectShape(k === kB, "matmul", `the same inner extent, not ${k} and ${kB}`, a!, b!);
    const leading = transposeA ? [columns(a!.shape)] : a!.shape.slice(0, -1);
    return [{ shape: [...leading, n], dtype: f32 ? accumulatorOf(a!.dtype) : a!.dtype }];
  },

  cost([a, b], [c], { transposeA }) {
    const k = transposeA ? rows(a!.shape) : columns(a!.shape);
    const flops = 2 * rows(c!.shape) * columns(c!.shape) * k;
    return { flops, matmulFlops: flops, bytes: operandBytes(a!, b!, c!) };
  },

  // Y = op(A)·op(B): dA = dY·op(B)ᵀ and dB = op(A)ᵀ·dY, each transposed once more where its operand was. The gradient of a
  // weight in bf16 is f32.
  gradient({ attrs: { transposeA, transposeB, f32: widened }, input, inputType, outputGradient, needs }) {
    if (widened) throw new Error("matmul with an f32 result of bf16 operands has no gradient");
    const dy = outputGradient(0);
    const f32 = inputType(1).dtype === "bf16";
    const da = () =>
      transposeA
        ? matmul(input(1), dy, { transposeA: transposeB as boolean, transposeB: true })
        : matmul(dy, input(1), { transposeB: !transposeB });
    const db = () =>
      transposeB
        ? matmul(dy, input(0), { transposeA: true, transposeB: transposeA as boolean, f32 })
        : matmul(input(0), dy, { transposeA: !transposeA, f32 });
    return [needs(0) ? da() : undefined, needs(1) ? db() : undefined];
  },

  reference([a, b], [c], { transposeA, transposeB }) {
    const m = rows(c!.shape);
    const n = columns(c!.shape);
    const k = transposeA ? rows(a!.shape) : columns(a!.shape);
    const left = packF64(a!.data, transposeA ? k : m, transposeA ? m : k, transposeA as boolean, 0);
    const right = packF64(b!.data, transposeB ? n : k, transposeB ? k : n, !transposeB, 1);
    matmulF64(left, right, c!.data, m, n, k);
  },
};
