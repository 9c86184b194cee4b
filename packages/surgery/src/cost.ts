import type { ModelConfig } from "@slayer/checkpoint";
import { blockTensors } from "@slayer/checkpoint";
import { PlanError } from "./errors.js";

/**
 * What one training step costs, from geometry alone. All results are exact integers.
 *
 * A matrix multiplication with an [out, in] weight costs 2·out·in FLOPs per token: forward, again for the gradient of its
 * input, and again for the gradient of its weight. Norms, activations and the optimizer are left out, as is usual.
 */
export interface StepFlops {
  readonly sequenceLength: number;
  readonly forward: number;
  /** Gradients of activations, from the loss down to and including the lowest trainable block. */
  readonly backwardActivations: number;
  readonly weightGradients: number;
  readonly total: number;
}

/**
 * FLOPs per token of one training step without recomputation.
 *
 * Attention costs 2·T·H·E per token forward when causal (scores and values, half of the T×T matrix each), less with a
 * sliding window shorter than T, and twice that backward.
 *
 * `trainable` are block indices; `head` says whether lm_head gets a weight gradient too. `blocks` is the new depth.
 */
export function stepFlops(
  config: ModelConfig,
  blocks: number,
  trainable: readonly number[],
  sequenceLength: number,
  head = false,
): StepFlops {
  const matmul = 2 * blockMatmulParameters(config);
  const attention = attentionFlops(config, sequenceLength);
  const headFlops = 2 * config.vocabSize * config.hiddenSize;
  const lowest = trainable.length === 0 ? blocks : Math.min(...trainable);
  const forward = blocks * (matmul + attention) + headFlops;
  const reachesHead = trainable.length > 0;
  const backwardActivations = reachesHead ? (blocks - lowest) * (matmul + 2 * attention) + headFlops : 0;
  const weightGradients = trainable.length * matmul + (head ? headFlops : 0);
  const total = exact(forward + backwardActivations + weightGradients);
  return { sequenceLength, forward, backwardActivations, weightGradients, total };
}

/** Elements of one block's linear weights, which are its tensors of two dimensions. */
function blockMatmulParameters(config: ModelConfig): number {
  let count = 0;
  for (const shape of blockTensors(config).values()) {
    const [rows, columns] = shape;
    if (rows !== undefined && columns !== undefined) count += rows * columns;
  }
  return count;
}

/** Per token: 4·H·E times the mean number of keys a query sees, T/2 causal, W - W²/2T with a window W < T. */
function attentionFlops(config: ModelConfig, sequenceLength: number): number {
  const window = config.slidingWindow;
  const width = config.heads * config.headDim;
  if (window === null || window >= sequenceLength) return 2 * width * sequenceLength;
  return 4 * width * window - Math.floor((2 * width * window * window) / sequenceLength);
}

/** Bytes that stay on the device during training, by component. Activations are not among them: they depend on the batch. */
export interface TrainingMemory {
  readonly precision: "f32" | "bf16";
  readonly frozenWeights: number;
  readonly trainableWeights: number;
  /** f32 copies of the trainable weights; none in f32, where the weights are their own masters. */
  readonly masterWeights: number;
  /** AdamW's two moments, f32. */
  readonly adamMoments: number;
  /** Gradients of the trainable weights, accumulated in f32. */
  readonly gradients: number;
  readonly total: number;
}

export function trainingMemory(precision: "f32" | "bf16", total: number, trainable: number): TrainingMemory {
  const size = precision === "f32" ? 4 : 2;
  const parts = {
    frozenWeights: size * (total - trainable),
    trainableWeights: size * trainable,
    masterWeights: precision === "f32" ? 0 : 4 * trainable,
    adamMoments: 8 * trainable,
    gradients: 4 * trainable,
  };
  return { precision, ...parts, total: exact(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)) };
}

/** The exact integers end at 2^53: about 9 PB, or a step of 9 PFLOP per token. */
function exact(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw new PlanError(`the model's sizes give ${value} bytes or FLOPs, beyond 2^53; are they right?`);
}
