// By path, not by name: the kernels' folder is no package of its own on npm, so its cases are built into this one.
export {
  type CaseInput,
  type CaseValues,
  cases,
  evaluate,
  type Fill,
  inferOutputs,
  type KernelCase,
  makeInputs,
  type Tolerance,
} from "../../../kernels/index.js";
