import { type CaseInput, f32, type KernelCase, normal } from "../case.js";

const tolerance = { value: 5e-6, reason: "f32 sums of up to 1031 squares and one reciprocal square root" };
const weightTolerance = { value: 1e-5, reason: "f32 sums over up to 8192 rows" };
/** With one column and a small eps, dx would be what cancellation leaves of its terms; eps = 1 leaves half of them. */
const epsFor = (d: number): number => (d === 1 ? 1 : 1e-5);

const weight = (d: number): CaseInput => f32({ kind: "normal", mean: 1, scale: 0.2 }, d);

/** r as the forward op computes it from operands x and w of the case. */
const r = (x: number, w: number, rows: number, eps: number): CaseInput =>
  f32({ kind: "forward", op: "rmsnorm", attrs: { eps }, inputs: [x, w], output: 1 }, rows);

function rmsnormCases(shape: readonly number[], bench?: true): KernelCase[] {
  const d = shape.at(-1)!;
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const tagged = bench && { bench };
  const x = normal(...shape);
  const label = shape.join("×");
  const backwardWeight: KernelCase = {
    name: `rmsnorm_backward_weight ${label}`,
    op: "rmsnorm_backward_weight",
    attrs: {},
    inputs: [x, x, f32({ kind: "squares", scale: 1 }, rows)],
    tolerance: weightTolerance,
    ...tagged,
  };
  return [
    {
      name: `rmsnorm ${label}`,
      op: "rmsnorm",
      attrs: { eps: epsFor(d) },
      inputs: [x, weight(d)],
      tolerance,
      ...tagged,
    },
    {
      name: `rmsnorm_backward_input ${label}`,
      op: "rmsnorm_backward_input",
      attrs: {},
      inputs: [x, x, weight(d), r(1, 2, rows, epsFor(d))],
      tolerance,
      ...tagged,
    },
    {
      name: `rmsnorm_backward_input_add ${label}`,
      op: "rmsnorm_backward_input_add",
      attrs: {},
      inputs: [x, x, weight(d), r(1, 2, rows, epsFor(d)), x],
      tolerance,
      ...tagged,
    },
    backwardWeight,
  ];
}

export const cases: readonly KernelCase[] = [
  ...[
    [1, 1],
    [1, 64],
    [3, 5],
    [2, 9, 33],
    [70, 128],
    [5, 1031],
    [2, 4104],
  ].flatMap((shape) => rmsnormCases(shape)),
  {
    name: "rmsnorm of zeros, where eps alone keeps it finite",
    op: "rmsnorm",
    attrs: { eps: 1e-5 },
    inputs: [f32({ kind: "normal", scale: 0 }, 3, 20), weight(20)],
    tolerance,
  },
  {
    name: "rmsnorm eps 1e-6 of values near 1e-3",
    op: "rmsnorm",
    attrs: { eps: 1e-6 },
    inputs: [f32({ kind: "normal", scale: 1e-3 }, 4, 40), weight(40)],
    tolerance,
  },
  ...rmsnormCases([8192, 768], true),
];
