import type { OpDefinition } from "../op.js";
import { addOp } from "./add.js";
import { attentionBackwardOp, attentionOp } from "./attention.js";
import { addBiasOp, sumRowsOp } from "./bias.js";
import { dequantizeOp } from "./dequantize.js";
import { embeddingBackwardOp, embeddingOp } from "./embedding.js";
import { lmHeadLossBackwardOp, lmHeadLossOp } from "./lm-head-loss.js";
import { lmHeadLossWithGradientOp } from "./lm-head-loss-with-gradient.js";
import { matmulAccumulateOp, matmulAddOp, matmulSwigluOp } from "./matmul-fused.js";
import { matmulOp } from "./matmul.js";
import { adamwOp, clipFactorOp, sumOfSquaresOp } from "./optimizer.js";
import { rmsnormBackwardInputAddOp, rmsnormBackwardInputOp, rmsnormBackwardWeightOp, rmsnormOp } from "./rmsnorm.js";
import { ropeOp } from "./rope.js";
import { accumulateOp, cacheWriteOp, clearOp, copyOp } from "./state.js";
import { broadcastOp, fillOp, sumOp } from "./sum.js";
import { swigluBackwardOp, swigluOp } from "./swiglu.js";

/** The closed vocabulary. A backend that has these kernels runs everything; it need not have the fused ones (`fusedOps`). */
export const ops = {
  accumulate: accumulateOp,
  adamw: adamwOp,
  add: addOp,
  add_bias: addBiasOp,
  attention: attentionOp,
  attention_backward: attentionBackwardOp,
  broadcast: broadcastOp,
  cache_write: cacheWriteOp,
  clear: clearOp,
  clip_factor: clipFactorOp,
  copy: copyOp,
  dequantize: dequantizeOp,
  embedding: embeddingOp,
  embedding_backward: embeddingBackwardOp,
  fill: fillOp,
  lm_head_loss: lmHeadLossOp,
  lm_head_loss_backward: lmHeadLossBackwardOp,
  lm_head_loss_with_gradient: lmHeadLossWithGradientOp,
  matmul: matmulOp,
  matmul_accumulate: matmulAccumulateOp,
  matmul_add: matmulAddOp,
  matmul_swiglu: matmulSwigluOp,
  rmsnorm: rmsnormOp,
  rmsnorm_backward_input: rmsnormBackwardInputOp,
  rmsnorm_backward_input_add: rmsnormBackwardInputAddOp,
  rmsnorm_backward_weight: rmsnormBackwardWeightOp,
  rope: ropeOp,
  sum: sumOp,
  sum_of_squares: sumOfSquaresOp,
  sum_rows: sumRowsOp,
  swiglu: swigluOp,
  swiglu_backward: swigluBackwardOp,
} satisfies Record<string, OpDefinition>;

export type OpName = keyof typeof ops;

/** What a backend need not have: makePlan puts these together of others (fuse.ts). */
export const fusedOps: readonly OpName[] = [
  "lm_head_loss_with_gradient",
  "matmul_accumulate",
  "matmul_add",
  "matmul_swiglu",
  "rmsnorm_backward_input_add",
];

export function definitionOf(op: OpName): OpDefinition {
  return ops[op];
}
