import { type CaseInput, f32, i32, type KernelCase, normal } from "../case.js";

const tolerance = { value: 1e-5, reason: "f32 dot products and sums of up to 8232 exponentials" };
const backwardTolerance = { value: 2e-5, reason: "f32 sums over the vocabulary, of rounded probabilities" };

interface Sizes {
  /** Leading dims of h. */
  rows: readonly number[];
  V: number;
  D: number;
  ignoreEvery?: number;
  bench?: true;
}

/** h is scaled by 1/√D, so that logits have the spread of one that real models' have at the start. */
function operands({ rows, V, D, ignoreEvery }: Sizes): [CaseInput, CaseInput, CaseInput] {
  return [
    f32({ kind: "normal", scale: D ** -0.5 }, ...rows, D),
    normal(V, D),
    i32({ kind: "ids", limit: V, ...(ignoreEvery && { ignoreEvery }) }, ...rows),
  ];
}

function describe({ rows, V, D, ignoreEvery }: Sizes): string {
  return `${rows.join("×")} V${V} D${D}${ignoreEvery ? `, every ${ignoreEvery}th ignored` : ""}`;
}

function forwardCase(sizes: Sizes): KernelCase {
  return {
    name: `lm_head_loss ${describe(sizes)}`,
    op: "lm_head_loss",
    attrs: {},
    inputs: operands(sizes),
    tolerance,
    ...(sizes.bench && { bench: sizes.bench }),
  };
}

/** Operands dnll, h, W, targets, lse. */
function backwardCase(sizes: Sizes, hidden: boolean, weight: boolean): KernelCase {
  const n = sizes.rows.reduce((a, b) => a * b, 1);
  const lse = f32({ kind: "forward", op: "lm_head_loss", attrs: {}, inputs: [1, 2, 3], output: 1 }, n);
  const asked = [hidden && "dh", weight && "dW"].filter(Boolean).join(" and ");
  return {
    name: `lm_head_loss_backward ${asked} ${describe(sizes)}`,
    op: "lm_head_loss_backward",
    attrs: { hidden, weight },
    inputs: [normal(n), ...operands(sizes), lse],
    tolerance: backwardTolerance,
    ...(sizes.bench && { bench: sizes.bench }),
  };
}

/** Operands dnll, h, W, targets. */
function fusedCase(sizes: Sizes, hidden: boolean, weight: boolean): KernelCase {
  const { inputs, name, ...rest } = backwardCase(sizes, hidden, weight);
  return {
    ...rest,
    name: name.replace("backward", "with_gradient"),
    op: "lm_head_loss_with_gradient",
    inputs: inputs.slice(0, 4),
  };
}

/** The gradient of h beside a row that is ignored, whose logits are beyond f32: 0 there, and what it would be elsewhere. */
function overflowingCases(): KernelCase[] {
  const [V, D] = [9, 2];
  const h = f32({ kind: "values", values: [0.5, -1, 3e38, 3e38, 0.25, 2] }, 3, D);
  const w = f32({ kind: "values", values: Array.from({ length: V * D }, (_, i) => ((7 * i) % 17) / 4 - 2) }, V, D);
  const targets = i32({ kind: "values", values: [1, -100, 8] }, 3);
  return [backwardCase, fusedCase].map((make) => {
    const { inputs, name, ...rest } = make({ rows: [3], V, D, ignoreEvery: 2 }, true, false);
    return { ...rest, name: `${name}, its logits infinite`, inputs: [inputs[0]!, h, w, targets, ...inputs.slice(4)] };
  });
}

const shapes: readonly Sizes[] = [
  { rows: [1], V: 2, D: 1 },
  { rows: [2, 3], V: 7, D: 5 },
  { rows: [65], V: 129, D: 33 },
  { rows: [33], V: 1031, D: 64, ignoreEvery: 3 },
  { rows: [4], V: 50, D: 8, ignoreEvery: 1 }, // nothing is scored
  { rows: [5], V: 2056, D: 8, ignoreEvery: 4 },
];

/** Rows that the threads of a block go over more than once, one logit at a time and several. */
const long: readonly Sizes[] = [
  { rows: [3], V: 2051, D: 4 },
  { rows: [2], V: 8232, D: 8 },
];

const large: readonly Sizes[] = [
  { rows: [1024], V: 1024, D: 256, bench: true },
  { rows: [1024], V: 4096, D: 512, bench: true },
];

export const cases: readonly KernelCase[] = [
  ...[...shapes, ...long].map(forwardCase),
  ...shapes.map((s) => backwardCase(s, true, true)),
  ...shapes.slice(1, 4).flatMap((s) => [backwardCase(s, true, false), backwardCase(s, false, true)]),
  ...shapes.map((s) => fusedCase(s, true, true)),
  ...shapes.slice(1, 4).flatMap((s) => [fusedCase(s, true, false), fusedCase(s, false, true)]),
  ...overflowingCases(),
  ...large.map(forwardCase),
  ...large.flatMap((s) => [backwardCase(s, true, false), backwardCase(s, true, true)]),
  ...large.flatMap((s) => [fusedCase(s, true, false), fusedCase(s, true, true)]),
];
