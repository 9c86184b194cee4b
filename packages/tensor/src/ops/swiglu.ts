import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { expectShape, sameDType, sameMatrix, sameShape } from "../shape.js";

/** SwiGLU (Shazeer 2020): y = silu(gate)∘up, silu(g) = g·σ(g). All [..., F]. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return gate.graph.apply("swiglu", [gate, up])[0]!;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

export const swigluOp: OpDefinition = {
  infer([gate, up]) {
    const ok = sameShape(gate!.shape, up!.shape) && sameDType(gate!, up!);
    expectShape(ok, "swiglu", "gate and up of one shape and type", gate!, up!);
    return [{ shape: gate!.shape, dtype: gate!.dtype }];
  },
  cost: ([gate, up], [y]) => elementwiseCost(5, y!, [gate!, up!, y!]),
  gradient({ input, outputGradient, needs }) {
    if (!needs(0) && !needs(1)) return [undefined, undefined];
    const dy = outputGradient(0);
    return dy.graph.apply("swiglu_backward", [dy, input(0), input(1)]);
  },
  reference([gate, up], [y]) {
    for (let i = 0; i < y!.data.length; i++) {
      const g = gate!.data[i]!;
      y!.data[i] = g * sigmoid(g) * up!.data[i]!;
    }
  },
};

/** dgate = dy∘up∘σ(g)(1 + g(1 − σ(g))), dup = dy∘silu(g). Operands dy, gate, up. */
export const swigluBackwardOp: OpDefinition = {
  infer([dy, gate, up]) {
    const ok = sameMatrix(dy!.shape, gate!.shape) && sameMatrix(dy!.shape, up!.shape);
    expectShape(ok, "swiglu_backward", "dy, gate and up of one shape", dy!, gate!, up!);
    const type = { shape: dy!.shape, dtype: dy!.dtype };
    return [type, type];
  },
  cost: ([dy, gate, up], [dgate, dup]) => elementwiseCost(10, dy!, [dy!, gate!, up!, dgate!, dup!]),
  reference([dy, gate, up], [dgate, dup]) {
    for (let i = 0; i < dy!.data.length; i++) {
      const g = gate!.data[i]!;
      const s = sigmoid(g);
      dgate!.data[i] = dy!.data[i]! * up!.data[i]! * s * (1 + g * (1 - s));
      dup!.data[i] = dy!.data[i]! * g * s;
    }
  },
};
