import { EXACT, f32, type KernelCase, normal, scalar } from "../case.js";

const tolerance = { value: 1e-5, reason: "f32 sums of up to 12.6 million terms of one sign, added as a tree" };

/** Terms of mean 1, so that the sum does not cancel and a relative error means something. */
const terms = (...shape: number[]) => f32({ kind: "normal", mean: 1 }, ...shape);

const extents = (shape: readonly number[]) => Object.fromEntries(shape.map((d, i) => [`d${i}`, d]));

const label = (shape: readonly number[]) => shape.join("×");

/** More than a few blocks take at once. */
const long = [35000, 4];
const shapes = [[1], [5], [257], [3, 7, 11], [1031, 9]];

export const cases: readonly KernelCase[] = [
  ...[...shapes, long].map((shape): KernelCase => ({
    name: `sum ${label(shape)}`,
    op: "sum",
    attrs: {},
    inputs: [terms(...shape)],
    tolerance,
  })),
  ...shapes.map((shape): KernelCase => ({
    name: `broadcast ${label(shape)}`,
    op: "broadcast",
    attrs: extents(shape),
    inputs: [normal(1)],
    tolerance: EXACT,
  })),
  ...shapes.map((shape): KernelCase => ({
    name: `fill ${label(shape)}`,
    op: "fill",
    attrs: { value: -0.625, f64: false, ...extents(shape) },
    inputs: [],
    tolerance: EXACT,
  })),
  { name: "sum 16384×768", op: "sum", attrs: {}, inputs: [terms(16384, 768)], tolerance, bench: true },
  {
    name: "broadcast 16384×768",
    op: "broadcast",
    attrs: extents([16384, 768]),
    inputs: [scalar(0.5)],
    tolerance: EXACT,
    bench: true,
  },
  {
    name: "fill 16384×768",
    op: "fill",
    attrs: { value: 1, f64: false, ...extents([16384, 768]) },
    inputs: [],
    tolerance: EXACT,
    bench: true,
  },
];
