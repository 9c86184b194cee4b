import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { expectShape, sameDType, sameMatrix, sameShape } from "../shape.js";

/** y = a + b, same shapes: the residual connection, and the sum of two gradients of one tensor. */
export function add(a: Tensor, b: Tensor): Tensor {
  expectShape(sameShape(a.shape, b.shape), "add", "two operands of one type", a, b);
  return a.graph.apply("add", [a, b])[0]!;
}

export const addOp: OpDefinition = {
  infer([a, b]) {
    // As matrices: the two gradients of one tensor may have its leading dims merged or not.
    const ok = sameMatrix(a!.shape, b!.shape) && sameDType(a!, b!);
    expectShape(ok, "add", "two operands of one type", a!, b!);
    return [{ shape: a!.shape, dtype: a!.dtype }];
  },
  cost: ([a, b], [y]) => elementwiseCost(1, y!, [a!, b!, y!]),
  gradient: ({ outputGradient, needs }) => [0, 1].map((i) => (needs(i) ? outputGradient(0) : undefined)),
  reference([a, b], [y]) {
    for (let i = 0; i < y!.data.length; i++) y!.data[i] = a!.data[i]! + b!.data[i]!;
  },
};
