import { type KernelCase, normal, ROUNDED_ONCE } from "../case.js";

function addCase(shape: readonly number[], bench?: true): KernelCase {
  const x = normal(...shape);
  const name = `add ${shape.join("×")}`;
  return { name, op: "add", attrs: {}, inputs: [x, x], tolerance: ROUNDED_ONCE, ...(bench && { bench }) };
}

export const cases: readonly KernelCase[] = [
  ...[[1], [3], [257], [2, 3, 65], [64, 128]].map((shape) => addCase(shape)),
  addCase([8192, 768], true),
];
