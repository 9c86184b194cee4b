import { accumulatorOf } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { expectShape, ShapeError, size, type Shape } from "../shape.js";

/** s [1] = sum of all elements of x, f32 for bf16. */
export function sum(x: Tensor): Tensor {
  return x.graph.apply("sum", [x])[0]!;
}

/** y of the given shape, each element s [1]. Shape extents travel as attributes d0, d1, … */
function broadcast(s: Tensor, shape: Shape): Tensor {
  return s.graph.apply("broadcast", [s], Object.fromEntries(shape.map((d, i) => [`d${i}`, d])))[0]!;
}

/** y of the given shape, each element the constant `value`. `like` gives graph and dtype. */
export function fill(like: Tensor, shape: Shape, value: number): Tensor {
  const attrs = { value, f64: like.dtype === "f64", ...Object.fromEntries(shape.map((d, i) => [`d${i}`, d])) };
  return like.graph.apply("fill", [], attrs)[0]!;
}

function shapeFrom(op: string, attrs: Readonly<Record<string, number | boolean>>): number[] {
  const shape: number[] = [];
  for (let i = 0; `d${i}` in attrs; i++) shape.push(attrs[`d${i}`] as number);
  if (shape.some((d) => !Number.isSafeInteger(d) || d < 1)) {
    throw new ShapeError(`${op}: wanted extents that are positive integers, got [${shape.join(",")}]`);
  }
  return shape;
}

export const sumOp: OpDefinition = {
  infer: ([x]) => [{ shape: [1], dtype: accumulatorOf(x!.dtype) }],
  cost: ([x], [s]) => elementwiseCost(1, x!, [x!, s!]),
  gradient: ({ inputType, outputGradient, needs }) => [
    needs(0) ? broadcast(outputGradient(0), inputType(0).shape) : undefined,
  ],
  reference([x], [s]) {
    let total = 0;
    for (let i = 0; i < x!.data.length; i++) total += x!.data[i]!;
    s!.data[0] = total;
  },
};

export const broadcastOp: OpDefinition = {
  infer([s], attrs) {
    expectShape(size(s!.shape) === 1, "broadcast", "one element", s!);
    return [{ shape: shapeFrom("broadcast", attrs), dtype: s!.dtype }];
  },
  cost: ([s], [y]) => elementwiseCost(0, y!, [s!, y!]),
  gradient: ({ outputGradient, needs }) => [needs(0) ? sum(outputGradient(0)) : undefined],
  reference([s], [y]) {
    y!.data.fill(s!.data[0]!);
  },
};

export const fillOp: OpDefinition = {
  infer: (_, attrs) => [{ shape: shapeFrom("fill", attrs), dtype: attrs.f64 ? "f64" : "f32" }],
  cost: (_, [y]) => elementwiseCost(0, y!, [y!]),
  reference(_, [y], { value }) {
    y!.data.fill(value as number);
  },
};
