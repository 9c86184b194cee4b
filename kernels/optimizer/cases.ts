import { bf16, f32, type KernelCase, normal, ROUNDED_TO_BF16, scalar } from "../case.js";

const adamwTolerance = { value: 2e-6, reason: "about 14 f32 operations per element, one square root, one division" };
const sameBits = {
  value: 0,
  reason: "each operation rounded to f32 by itself, then bits that are part of the definition",
};
const sumTolerance = { value: 1e-5, reason: "f32 sums of up to 6.3 million squares, added as a tree" };
const factorTolerance = { value: 1e-6, reason: "one square root and one division" };

/** lr, 1 − β1^step, 1 − β2^step after `step` steps. */
function stepValues(step: number): number[] {
  return [2e-2, 1 - 0.9 ** step, 1 - 0.95 ** step];
}

interface AdamwCase {
  shape: readonly number[];
  step: number;
  weightDecay: number;
  factor?: number;
  /** Parameters in bf16, rounded stochastically. */
  seed?: number;
  /** A copy of the parameters in bf16. */
  working?: true;
  bench?: true;
}

function adamwCase({ shape, step, weightDecay, factor = 0.5, seed, working, bench }: AdamwCase): KernelCase {
  const stochastic = seed !== undefined;
  const moments = step === 1 ? 0 : 0.1; // nothing has been averaged before the first step
  return {
    name: `adamw ${shape.join("×")} step ${step}, decay ${weightDecay}, factor ${factor}${stochastic ? `, stochastic ${seed}` : ""}${working ? ", with a copy in bf16" : ""}`,
    op: "adamw",
    attrs: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay, ...(stochastic && { stochastic, seed }) },
    inputs: [
      stochastic ? bf16(...shape) : normal(...shape),
      normal(...shape),
      f32({ kind: "normal", scale: moments }, ...shape),
      f32({ kind: "squares", scale: moments }, ...shape),
      scalar(factor),
      stochastic
        ? f32({ kind: "values", values: [...stepValues(step), step] }, 4)
        : f32({ kind: "values", values: stepValues(step) }, 3),
      ...(working ? [bf16(...shape)] : []),
    ],
    tolerance: working ? ROUNDED_TO_BF16 : stochastic ? sameBits : adamwTolerance,
    ...(stochastic && { storage: "bf16" }),
    ...(working && { storage: "bf16 weights" }),
    ...(bench && { bench }),
  };
}

function clipCase(sumSquares: number, scale: number, maxNorm: number): KernelCase {
  return {
    name: `clip_factor Σ² ${sumSquares} scale ${scale} max ${maxNorm}`,
    op: "clip_factor",
    attrs: { maxNorm },
    inputs: [scalar(sumSquares), scalar(scale)],
    tolerance: factorTolerance,
  };
}

const sumCase = (shape: readonly number[], bench?: true): KernelCase => ({
  name: `sum_of_squares ${shape.join("×")}`,
  op: "sum_of_squares",
  attrs: {},
  inputs: [normal(...shape)],
  tolerance: sumTolerance,
  ...(bench && { bench }),
});

export const cases: readonly KernelCase[] = [
  adamwCase({ shape: [1], step: 1, weightDecay: 0.1 }),
  adamwCase({ shape: [257], step: 1, weightDecay: 0 }),
  adamwCase({ shape: [3, 65], step: 7, weightDecay: 0.1 }),
  adamwCase({ shape: [131], step: 1000, weightDecay: 0.1, factor: 1 }),
  adamwCase({ shape: [66], step: 3, weightDecay: 0.1, factor: 0 }), // gradients scaled away: moments only decay
  adamwCase({ shape: [4, 66], step: 2, weightDecay: 0.1 }),
  ...[[257], [4, 66]].map((shape) => adamwCase({ shape, step: 2, weightDecay: 0.1, working: true })),
  adamwCase({ shape: [4, 66], step: 2, weightDecay: 0.1, seed: 2 }),
  adamwCase({ shape: [257], step: 1, weightDecay: 0.1, seed: 1 }),
  adamwCase({ shape: [3, 1025], step: 7, weightDecay: 0.1, seed: 4_000_000_000 }),
  adamwCase({ shape: [131], step: 16_000_000, weightDecay: 0, factor: 1, seed: 0 }),
  clipCase(9, 1, 1), // clipped
  clipCase(0.25, 1, 1), // below the limit
  clipCase(9, 0.125, 1), // below it only once scaled
  clipCase(9, 1, 0), // no clipping
  clipCase(0, 1, 1), // all gradients zero
  ...[[1], [3], [1031], [65, 33], [2, 4108]].map((shape) => sumCase(shape)),
  adamwCase({ shape: [8192 * 768], step: 7, weightDecay: 0.1, bench: true }),
  adamwCase({ shape: [8192 * 768], step: 7, weightDecay: 0.1, seed: 1, bench: true }),
  sumCase([8192 * 768], true),
];
