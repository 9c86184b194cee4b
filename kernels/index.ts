import { cases as add } from "./add/cases.js";
import { cases as addBias } from "./add-bias/cases.js";
import { cases as attention } from "./attention/cases.js";
import { bf16Cases } from "./bf16.js";
import type { KernelCase } from "./case.js";
import { cases as dequantize } from "./dequantize/cases.js";
import { cases as embedding } from "./embedding/cases.js";
import { cases as lmHeadLoss } from "./lm-head-loss/cases.js";
import { cases as matmul } from "./matmul/cases.js";
import { cases as matmulFused } from "./matmul/fused-cases.js";
import { cases as optimizer } from "./optimizer/cases.js";
import { cases as rmsnorm } from "./rmsnorm/cases.js";
import { cases as rope } from "./rope/cases.js";
import { cases as state } from "./state/cases.js";
import { cases as sum } from "./sum/cases.js";
import { cases as swiglu } from "./swiglu/cases.js";

export type { CaseInput, Fill, KernelCase, Tolerance } from "./case.js";
export { type CaseValues, evaluate, inferOutputs, makeInputs } from "./values.js";

const inF32: readonly KernelCase[] = [
  ...matmul,
  ...matmulFused,
  ...attention,
  ...rmsnorm,
  ...rope,
  ...swiglu,
  ...embedding,
  ...lmHeadLoss,
  ...add,
  ...addBias,
  ...sum,
  ...optimizer,
  ...state,
  ...dequantize,
];

/**
 * Every case of every op: small awkward shapes for conformance, realistic ones (`bench`) for timing; then the same with
 * operands in bf16.
 */
export const cases: readonly KernelCase[] = [...inF32, ...bf16Cases(inF32)];
