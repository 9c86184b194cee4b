export {
  type CaseInput,
  type CaseValues,
  cases,
  evaluate,
  type Fill,
  type KernelCase,
  makeInputs,
  type Tolerance,
} from "./cases.js";
export { conformance, type ConformanceOptions } from "./conformance.js";
export { type CaseResult, type Compared, runCase, type Unsupported } from "./run-case.js";
