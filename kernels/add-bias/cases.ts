import { type KernelCase, normal, ROUNDED_ONCE } from "../case.js";

const sumTolerance = { value: 5e-6, reason: "f32 sums over up to 8192 rows" };

function biasCases(shape: readonly number[], bench?: true): KernelCase[] {
  const x = normal(...shape);
  const label = shape.join("×");
  const tagged = bench && { bench };
  return [
    {
      name: `add_bias ${label}`,
      op: "add_bias",
      attrs: {},
      inputs: [x, normal(shape.at(-1)!)],
      tolerance: ROUNDED_ONCE,
      ...tagged,
    },
    { name: `sum_rows ${label}`, op: "sum_rows", attrs: {}, inputs: [x], tolerance: sumTolerance, ...tagged },
  ];
}

export const cases: readonly KernelCase[] = [
  ...[
    [1, 1],
    [1, 33],
    [7, 1],
    [2, 5, 31],
    [130, 64],
    [530, 24], // in more chunks of rows than are added at once
  ].flatMap((shape) => biasCases(shape)),
  ...biasCases([8192, 768], true),
];
