import { accumulatorOf, type TypedArray } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { type Attrs, elementwiseCost, type OpDefinition, type View } from "../op.js";
import { expectShape, sameDType, sameShape, size } from "../shape.js";
import { roundStochastically, stochasticKey } from "../stochastic.js";

/** s [1] = Σ x²: one range's share of the squared global gradient norm. */
export function sumOfSquares(x: Tensor): Tensor {
  return x.graph.apply("sum_of_squares", [x])[0]!;
}

/**
 * Clipping by global norm, as torch.nn.utils.clip_grad_norm_: with gradients g·scale, norm = scale·√sumSquares and
 * factor = scale·min(1, maxNorm/(norm + 1e-6)). sumSquares [1], scale [1]; yields norm [1] and factor [1].
 * maxNorm 0 stands for no clipping.
 */
export function clipFactor(sumSquares: Tensor, scale: Tensor, maxNorm: number): { norm: Tensor; factor: Tensor } {
  const [norm, factor] = sumSquares.graph.apply("clip_factor", [sumSquares, scale], { maxNorm });
  return { norm: norm!, factor: factor! };
}

/**
 * AdamW (Loshchilov & Hutter 2019) in place over one flat range: with g = factor·gradient,
 * m = β1·m + (1−β1)·g, v = β2·v + (1−β2)·g², p −= lr·(weightDecay·p + m/c1 / (√(v/c2) + eps)), c = 1 − β^step.
 * p, gradient, m, v [N]; factor [1]; step [3] = lr, c1, c2 (they change each step and are computed on the host in f64).
 * `working` [N], bf16 beside a p in f32, becomes the new p as `copy` rounds it, in the same pass over memory.
 *
 * With `seed` (32 bits), p is bf16 and the others f32: the new p is rounded stochastically (stochastic.ts), so that updates below half a
 * unit of p count on average. step [4] ends with the number of the step, an integer below 2²⁴. Every operation is rounded to f32 by
 * itself, in the order of the reference below: all backends give the same bits.
 */
export function adamw(
  operands: {
    parameter: Tensor;
    gradient: Tensor;
    m: Tensor;
    v: Tensor;
    factor: Tensor;
    step: Tensor;
    working?: Tensor;
  },
  { seed, ...options }: { beta1: number; beta2: number; eps: number; weightDecay: number; seed?: number },
): void {
  const { parameter, gradient, m, v, factor, step, working } = operands;
  const attrs = { ...options, ...(seed !== undefined && { stochastic: true, seed: seed >>> 0 }) };
  parameter.graph.apply("adamw", [parameter, gradient, m, v, factor, step, ...(working ? [working] : [])], attrs);
}

export const sumOfSquaresOp: OpDefinition = {
  infer: ([x]) => [{ shape: [1], dtype: accumulatorOf(x!.dtype) }],
  cost: ([x], [s]) => elementwiseCost(2, x!, [x!, s!]),
  reference([x], [s]) {
    let total = 0;
    for (let i = 0; i < x!.data.length; i++) total += x!.data[i]! ** 2;
    s!.data[0] = total;
  },
};

export const clipFactorOp: OpDefinition = {
  infer([sumSquares, scale]) {
    expectShape(
      size(sumSquares!.shape) === 1 && size(scale!.shape) === 1,
      "clip_factor",
      "two scalars",
      sumSquares!,
      scale!,
    );
    const scalar = { shape: [1], dtype: sumSquares!.dtype };
    return [scalar, scalar];
  },
  cost: ([s, scale], [norm, factor]) => elementwiseCost(5, s!, [s!, scale!, norm!, factor!]),
  reference([sumSquares, scale], [norm, factor], { maxNorm }) {
    const n = Math.abs(scale!.data[0]!) * Math.sqrt(sumSquares!.data[0]!);
    norm!.data[0] = n;
    factor!.data[0] = scale!.data[0]! * (maxNorm === 0 ? 1 : Math.min(1, (maxNorm as number) / (n + 1e-6)));
  },
};

export const adamwOp: OpDefinition = {
  mutates: [0, 2, 3, 6],
  infer([p, g, m, v, factor, step, working], { stochastic }) {
    const others = [g!, m!, v!, factor!, step!];
    const mixed = p!.dtype === "bf16" && others.every((t) => t.dtype === "f32");
    const types = sameDType(p!, ...others) || (stochastic === true && mixed);
    const same = [g!, m!, v!].every((t) => sameShape(t.shape, p!.shape)) && types;
    const scalars = size(factor!.shape) === 1 && size(step!.shape) === (stochastic ? 4 : 3);
    const rounded = p!.dtype === "f32" ? "bf16" : "f64"; // in f64 it is but a copy
    const copied = stochastic !== true && p!.dtype !== "bf16" && working?.dtype === rounded;
    const wanted = stochastic
      ? "p, g, m, v of one shape, factor [1], step [4], p bf16 and the others f32"
      : "p, g, m, v of one shape, factor [1], step [3], all of one type";
    expectShape(
      same && scalars && (!working || (copied && sameShape(working.shape, p!.shape))),
      "adamw",
      working ? `${wanted}; working bf16 of the shape of a p in f32, for none that is rounded stochastically` : wanted,
      p!,
      g!,
      m!,
      v!,
      factor!,
      step!,
      ...(working ? [working] : []),
    );
    return [];
  },
  cost: ([p, g, m, v, , , working]) =>
    elementwiseCost(14, p!, [p!, p!, g!, m!, m!, v!, v!, ...(working ? [working] : [])]),
  reference(operands, _, attrs) {
    if (attrs.stochastic) return stochasticReference(operands, attrs);
    const [p, g, m, v, factor, step, working] = operands;
    const { beta1, beta2, eps, weightDecay } = attrs;
    const [b1, b2] = [beta1 as number, beta2 as number];
    const [lr, c1, c2] = [step!.data[0]!, step!.data[1]!, step!.data[2]!];
    for (let i = 0; i < p!.data.length; i++) {
      const gradient = factor!.data[0]! * g!.data[i]!;
      const first = b1 * m!.data[i]! + (1 - b1) * gradient;
      const second = b2 * v!.data[i]! + (1 - b2) * gradient * gradient;
      m!.data[i] = first;
      v!.data[i] = second;
      const update = (weightDecay as number) * p!.data[i]! + first / c1 / (Math.sqrt(second / c2) + (eps as number));
      p!.data[i]! -= lr * update;
    }
    working?.data.set(p!.data);
  },
};

type Six = [TypedArray, TypedArray, TypedArray, TypedArray, TypedArray, TypedArray];

/** Op by op in f32: √ and the four operations, computed in f64 and rounded, are the f32 ones (Figueroa 1995). */
function stochasticReference(operands: readonly View[], attrs: Attrs): void {
  const [p, g, m, v, factor, step] = operands.map(({ data }) => data) as Six;
  const f = Math.fround;
  const [b1, b2] = [attrs.beta1 as number, attrs.beta2 as number];
  const [beta1, beta2, rest1, rest2] = [f(b1), f(b2), f(1 - b1), f(1 - b2)];
  const [eps, decay] = [f(attrs.eps as number), f(attrs.weightDecay as number)];
  const [lr, c1, c2, count] = [...step.subarray(0, 4)] as [number, number, number, number];
  const key = stochasticKey(attrs.seed as number, count);
  for (let i = 0; i < p.length; i++) {
    const gradient = f(factor[0]! * g[i]!);
    const first = f(f(beta1 * m[i]!) + f(rest1 * gradient));
    const second = f(f(beta2 * v[i]!) + f(f(rest2 * gradient) * gradient));
    m[i] = first;
    v[i] = second;
    const scaled = f(f(first / c1) / f(f(Math.sqrt(f(second / c2))) + eps));
    const update = f(lr * f(f(decay * p[i]!) + scaled));
    p[i] = roundStochastically(f(p[i]! - update), key, i);
  }
}
