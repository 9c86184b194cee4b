import { accumulatorOf } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { columns, compatible, expectShape, rows } from "../shape.js";

/** y [..., D] = x [..., D] + b [D]. */
export function addBias(x: Tensor, b: Tensor): Tensor {
  return x.graph.apply("add_bias", [x, b])[0]!;
}

/** s [D] = sum of x [..., D] over all leading dims, f32 for bf16: the gradient of a bias. */
function sumRows(x: Tensor): Tensor {
  return x.graph.apply("sum_rows", [x])[0]!;
}

export const addBiasOp: OpDefinition = {
  infer([x, b]) {
    const ok = b!.shape.length === 1 && b!.shape[0] === columns(x!.shape) && compatible(x!, b!);
    expectShape(ok, "add_bias", "x [..., D], b [D] of one type, or f32 and bf16", x!, b!);
    return [{ shape: x!.shape, dtype: x!.dtype }];
  },
  cost: ([x, b], [y]) => elementwiseCost(1, y!, [x!, b!, y!]),
  gradient: ({ outputGradient, needs }) => [
    needs(0) ? outputGradient(0) : undefined,
    needs(1) ? sumRows(outputGradient(0)) : undefined,
  ],
  reference([x, b], [y]) {
    const d = b!.data.length;
    for (let i = 0; i < y!.data.length; i++) y!.data[i] = x!.data[i]! + b!.data[i % d]!;
  },
};

export const sumRowsOp: OpDefinition = {
  infer: ([x]) => [{ shape: [columns(x!.shape)], dtype: accumulatorOf(x!.dtype) }],
  cost: ([x], [s]) => elementwiseCost(1, x!, [x!, s!]),
  reference([x], [s]) {
    const d = columns(x!.shape);
    const n = rows(x!.shape);
    for (let j = 0; j < d; j++) {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += x!.data[i * d + j]!;
      s!.data[j] = sum;
    }
  },
};
