import { accumulatorOf } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { expectShape, sameDType, sameShape, size } from "../shape.js";

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
 */
export function adamw(
  operands: { parameter: Tensor; gradient: Tensor; m: Tensor; v: Tensor; factor: Tensor; step: Tensor },
  options: { beta1: number; beta2: number; eps: number; weightDecay: number },
): void {
  const { parameter, gradient, m, v, factor, step } = operands;
  parameter.graph.apply("adamw", [parameter, gradient, m, v, factor, step], options);
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
  mutates: [0, 2, 3],
  infer([p, g, m, v, factor, step]) {
    const same = [g!, m!, v!].every((t) => sameShape(t.shape, p!.shape)) && sameDType(p!, g!, m!, v!, factor!, step!);
    const scalars = size(factor!.shape) === 1 && size(step!.shape) === 3;
    expectShape(
      same && scalars,
      "adamw",
      "p, g, m, v of one shape, factor [1], step [3], all of one type",
      p!,
      g!,
      m!,
      v!,
      factor!,
      step!,
    );
    return [];
  },
  cost: ([p, g, m, v]) => elementwiseCost(14, p!, [p!, p!, g!, m!, m!, v!, v!]),
  reference([p, g, m, v, factor, step], _, { beta1, beta2, eps, weightDecay }) {
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
  },
};
