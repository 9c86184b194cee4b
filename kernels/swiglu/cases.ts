import { f32, type KernelCase, normal } from "../case.js";

const tolerance = { value: 2e-6, reason: "one exp and five f32 operations per element" };

function swigluCases(shape: readonly number[], bench?: true): KernelCase[] {
  const x = normal(...shape);
  const label = shape.join("×");
  const tagged = bench && { bench };
  return [
    { name: `swiglu ${label}`, op: "swiglu", attrs: {}, inputs: [x, x], tolerance, ...tagged },
    { name: `swiglu_backward ${label}`, op: "swiglu_backward", attrs: {}, inputs: [x, x, x], tolerance, ...tagged },
  ];
}

// exp overflows f32 at 89: far from 0 the sigmoid must still be 0 or 1, not NaN.
const extreme = f32({ kind: "values", values: [-1e4, -200, -89, -20, 0, 20, 89, 200, 1e4] }, 9);

export const cases: readonly KernelCase[] = [
  ...[[1], [7], [3, 33], [2, 5, 131], [64, 256]].flatMap((shape) => swigluCases(shape)),
  { name: "swiglu of extreme gates", op: "swiglu", attrs: {}, inputs: [extreme, normal(9)], tolerance },
  {
    name: "swiglu_backward of extreme gates",
    op: "swiglu_backward",
    attrs: {},
    inputs: [normal(9), extreme, normal(9)],
    tolerance,
  },
  ...swigluCases([4096, 1408], true),
];
