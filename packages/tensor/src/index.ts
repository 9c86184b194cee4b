export { differentiate, type DifferentiateOptions } from "./autodiff.js";
export {
  BackendError,
  DeviceLostError,
  OutOfMemoryError,
  type Backend,
  type Bindings,
  type Buffer,
  type Capabilities,
  type Executable,
  type Kernel,
  type Region,
} from "./backend.js";
export {
  accumulatorOf,
  byteSize,
  decode,
  encode,
  viewOf,
  type DType,
  type FloatDType,
  type TypedArray,
} from "./dtype.js";
export { flattenPlan, type FlatOperand, type FlatPlan, type FlatStep } from "./flat-plan.js";
export { Graph, type Node, type Role, type Tensor } from "./graph.js";
export { type Attrs, type Cost, type View } from "./op.js";
export { add } from "./ops/add.js";
export { attention } from "./ops/attention.js";
export { addBias } from "./ops/bias.js";
export { embedding } from "./ops/embedding.js";
export { dequantize } from "./ops/dequantize.js";
export { definitionOf, fusedOps, ops, type OpName } from "./ops/index.js";
export { IGNORE_TARGET, lmHeadLoss } from "./ops/lm-head-loss.js";
export { matmul } from "./ops/matmul.js";
export { adamw, clipFactor, sumOfSquares } from "./ops/optimizer.js";
export { rmsnorm } from "./ops/rmsnorm.js";
export { rope } from "./ops/rope.js";
export { accumulate, cacheWrite, clear, copy } from "./ops/state.js";
export { fill, sum } from "./ops/sum.js";
export { swiglu } from "./ops/swiglu.js";
export {
  makePlan,
  planCost,
  planMemoryOf,
  type Operand,
  type PersistentTensor,
  type Plan,
  type PlanCost,
  type PlanMemory,
  type Step,
} from "./plan.js";
export { ALIGNMENT, planMemory, type Layout, type LiveRange } from "./planner.js";
export { Program } from "./program.js";
export { quantize, type QuantizedFormat, quantizedTypes } from "./quantized.js";
export { createReferenceBackend, type ReferenceOptions } from "./reference.js";
export { byteLength, formatType, ShapeError, size, type Shape, type TensorType } from "./shape.js";
export { Store } from "./store.js";
export type { TuningStore } from "./tuning.js";
