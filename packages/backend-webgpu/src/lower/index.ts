import { definitionOf, type Kernel, type OpName } from "@slayer/tensor";
import { type DeviceTraits, type Dispatch, Lowering, LoweringError } from "../lowering.js";
import { lowerAttention, lowerAttentionBackward } from "./attention.js";
import {
  lowerAccumulate,
  lowerAdamw,
  lowerAdd,
  lowerAddBias,
  lowerBroadcast,
  lowerClear,
  lowerCopy,
  lowerFill,
  lowerSwiglu,
  lowerSwigluBackward,
} from "./elementwise.js";
import { lowerLmHeadLoss, lowerLmHeadLossBackward, lowerLmHeadLossWithGradient } from "./lm-head.js";
import { lowerMatmul } from "./matmul.js";
import {
  lowerClipFactor,
  lowerRmsnorm,
  lowerRmsnormBackwardInput,
  lowerRmsnormBackwardWeight,
  lowerSum,
  lowerSumOfSquares,
  lowerSumRows,
} from "./reduce.js";
import { lowerCacheWrite, lowerDequantize, lowerEmbedding, lowerEmbeddingBackward, lowerRope } from "./rows.js";

const lowerings: Readonly<Partial<Record<OpName, (lowering: Lowering) => void>>> = {
  accumulate: lowerAccumulate,
  adamw: lowerAdamw,
  add: lowerAdd,
  add_bias: lowerAddBias,
  attention: lowerAttention,
  attention_backward: lowerAttentionBackward,
  broadcast: lowerBroadcast,
  cache_write: lowerCacheWrite,
  clear: lowerClear,
  clip_factor: lowerClipFactor,
  copy: lowerCopy,
  dequantize: lowerDequantize,
  embedding: lowerEmbedding,
  embedding_backward: lowerEmbeddingBackward,
  fill: lowerFill,
  lm_head_loss: lowerLmHeadLoss,
  lm_head_loss_backward: lowerLmHeadLossBackward,
  lm_head_loss_with_gradient: lowerLmHeadLossWithGradient,
  matmul: lowerMatmul,
  rmsnorm: lowerRmsnorm,
  rmsnorm_backward_input: lowerRmsnormBackwardInput,
  rmsnorm_backward_weight: lowerRmsnormBackwardWeight,
  rope: lowerRope,
  sum: lowerSum,
  sum_of_squares: lowerSumOfSquares,
  sum_rows: lowerSumRows,
  swiglu: lowerSwiglu,
  swiglu_backward: lowerSwigluBackward,
};

/** What a device does for one step of a plan. */
export interface LoweredKernel {
  readonly dispatches: readonly Dispatch[];
  /** Memory that the dispatches share among themselves; what it holds means nothing to other steps. */
  readonly scratchBytes: number;
}

/** Throws a LoweringError for what cannot be run. */
export function lower(kernel: Kernel, device: DeviceTraits): LoweredKernel {
  const types = [...kernel.inputs, ...kernel.outputs];
  if (kernel.attrs.f64 || types.some(({ dtype }) => dtype === "f64")) {
    throw new LoweringError("shaders compute in f32; f64 is for the reference backend");
  }
  const written = definitionOf(kernel.op).mutates ?? [];
  // AdamW's last operand is but a rounded copy.
  const changed = written.some((i) => kernel.inputs[i]?.dtype === "bf16" && !(kernel.op === "adamw" && i === 6));
  if (changed && !["cache_write", "clear", "copy"].includes(kernel.op)) {
    throw new LoweringError(`${kernel.op} in place is for f32; bf16 is a type of storage`);
  }
  const rule = lowerings[kernel.op];
  if (rule === undefined) throw new LoweringError(`there is no shader for ${kernel.op}`);
  const lowering = new Lowering(kernel, device);
  rule(lowering);
  lowering.finish();
  return { dispatches: lowering.dispatches, scratchBytes: lowering.scratchBytes };
}
