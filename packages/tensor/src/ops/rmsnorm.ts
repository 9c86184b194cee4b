import { accumulatorOf } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { columns, compatible, expectShape, rows, sameDType, sameMatrix, size } from "../shape.js";

/**
 * RMSNorm (Zhang & Sennrich 2019): y = x · r · w with r = (mean(x²) + eps)^(-1/2) per row.
 * x [..., D], w [D]. Also yields r [rows], f32 for bf16, which the backward ops reuse.
 */
export function rmsnorm(x: Tensor, w: Tensor, eps: number): Tensor {
  return x.graph.apply("rmsnorm", [x, w], { eps })[0]!;
}

export const rmsnormOp: OpDefinition = {
  infer([x, w]) {
    const ok = w!.shape.length === 1 && w!.shape[0] === columns(x!.shape) && compatible(x!, w!);
    expectShape(ok, "rmsnorm", "x [..., D], w [D] of one type, or f32 and bf16", x!, w!);
    return [
      { shape: x!.shape, dtype: x!.dtype },
      { shape: [rows(x!.shape)], dtype: accumulatorOf(x!.dtype) },
    ];
  },
  cost: ([x, w], [y, r]) => elementwiseCost(4, x!, [x!, w!, y!, r!]),
  gradient({ input, output, outputGradient, needs }) {
    const dy = outputGradient(0);
    const apply = (op: "rmsnorm_backward_input" | "rmsnorm_backward_weight", operands: Tensor[]) =>
      dy.graph.apply(op, operands)[0]!;
    return [
      needs(0) ? apply("rmsnorm_backward_input", [dy, input(0), input(1), output(1)]) : undefined,
      needs(1) ? apply("rmsnorm_backward_weight", [dy, input(0), output(1)]) : undefined,
    ];
  },
  reference([x, w], [y, r], { eps }) {
    const d = w!.data.length;
    for (let i = 0; i < r!.data.length; i++) {
      let sumOfSquares = 0;
      for (let j = 0; j < d; j++) sumOfSquares += x!.data[i * d + j]! ** 2;
      const scale = 1 / Math.sqrt(sumOfSquares / d + (eps as number));
      r!.data[i] = scale;
      for (let j = 0; j < d; j++) y!.data[i * d + j] = x!.data[i * d + j]! * scale * w!.data[j]!;
    }
  },
};

/** dx = r·(w∘dy − x·r²·mean(w∘dy∘x)). Operands dy, x [..., D], w [D], r [rows]. */
export const rmsnormBackwardInputOp: OpDefinition = {
  infer([dy, x, w, r]) {
    const d = columns(dy!.shape);
    const ok = sameMatrix(dy!.shape, x!.shape) && size(w!.shape) === d && size(r!.shape) === rows(dy!.shape);
    expectShape(ok, "rmsnorm_backward_input", "dy and x [..., D], w [D], r [rows]", dy!, x!, w!, r!);
    return [{ shape: dy!.shape, dtype: dy!.dtype }];
  },
  cost: ([dy, x, w, r], [dx]) => elementwiseCost(7, x!, [dy!, x!, w!, r!, dx!]),
  reference([dy, x, w, r], [dx]) {
    const d = w!.data.length;
    for (let i = 0; i < r!.data.length; i++) {
      const scale = r!.data[i]!;
      let dot = 0;
      for (let j = 0; j < d; j++) dot += w!.data[j]! * dy!.data[i * d + j]! * x!.data[i * d + j]!;
      const along = (dot / d) * scale * scale;
      for (let j = 0; j < d; j++) {
        dx!.data[i * d + j] = scale * (w!.data[j]! * dy!.data[i * d + j]! - x!.data[i * d + j]! * along);
      }
    }
  },
};

/**
 * dx as of rmsnorm_backward_input, + c: with the gradient that passes the norm by, along the residual connection. c of dx's shape and
 * type; the sum is rounded once. Fused, as products are (see matmul-fused.ts).
 */
export const rmsnormBackwardInputAddOp: OpDefinition = {
  infer([dy, x, w, r, c]) {
    const [dx] = rmsnormBackwardInputOp.infer([dy!, x!, w!, r!], {});
    const ok = sameMatrix(dx!.shape, c!.shape) && sameDType(dx!, c!);
    expectShape(ok, "rmsnorm_backward_input_add", "c of dy's shape and type", dy!, c!);
    return [{ shape: c!.shape, dtype: c!.dtype }];
  },
  cost: ([dy, x, w, r, c], [dx]) => elementwiseCost(8, x!, [dy!, x!, w!, r!, c!, dx!]),
  reference([dy, x, w, r, c], [dx]) {
    const data = new Float64Array(dx!.data.length);
    rmsnormBackwardInputOp.reference([dy!, x!, w!, r!], [{ data, shape: dx!.shape }], {});
    for (let i = 0; i < data.length; i++) dx!.data[i] = data[i]! + c!.data[i]!;
  },
};

/** dw [D] = Σ over rows of dy∘x·r. Operands dy, x [..., D], r [rows]. */
export const rmsnormBackwardWeightOp: OpDefinition = {
  infer([dy, x, r]) {
    const ok = sameMatrix(dy!.shape, x!.shape) && size(r!.shape) === rows(dy!.shape);
    expectShape(ok, "rmsnorm_backward_weight", "dy and x [..., D], r [rows]", dy!, x!, r!);
    return [{ shape: [columns(dy!.shape)], dtype: accumulatorOf(dy!.dtype) }];
  },
  cost: ([dy, x, r], [dw]) => elementwiseCost(3, x!, [dy!, x!, r!, dw!]),
  reference([dy, x, r], [dw]) {
    const d = dw!.data.length;
    const sums = new Float64Array(d);
    for (let i = 0; i < r!.data.length; i++) {
      for (let j = 0; j < d; j++) sums[j]! += dy!.data[i * d + j]! * x!.data[i * d + j]! * r!.data[i]!;
    }
    for (let j = 0; j < d; j++) dw!.data[j] = sums[j]!;
  },
};
