import type { ModelConfig } from "@slayer/checkpoint";
import { forward } from "@slayer/model";
import { accumulateGradients, type NamedType } from "@slayer/optim";
import { Graph, lmHeadLoss, makePlan, planCost, sum, type Plan, type Tensor } from "@slayer/tensor";

export interface StepShape {
  /** Sequences per micro-batch. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
  /** Keep attention within documents. */
  segments: boolean;
  recompute: boolean;
}

/** One micro-batch: forward, loss (sum over scored tokens), and gradients of the trainable parameters accumulated. */
export function recordMicroBatch(
  config: ModelConfig,
  trainable: readonly NamedType[],
  { batch, length, segments, recompute }: StepShape,
): { graph: Graph; loss: Tensor } {
  const graph = new Graph();
  const { final, head } = forward(graph, config, { batch, length, segments });
  const loss = sum(lmHeadLoss(final, head, graph.input("targets", [batch, length], "i32")));
  accumulateGradients(loss, trainable, { recompute: () => recompute });
  return { graph, loss };
}

/** What a run will take, exactly as planned; bytes. */
export interface Prediction {
  parameters: number;
  trainable: number;
  memory: { weights: number; gradients: number; moments: number; intermediates: number; inputs: number; total: number };
  recompute: boolean;
  /** Per optimizer step: what MFU counts, and all arithmetic. */
  modelFlops: number;
  flops: number;
}

/** Plans a run without allocating or reading any weight. */
export function predict(
  config: ModelConfig,
  parameters: readonly NamedType[],
  trainable: readonly NamedType[],
  shape: StepShape,
  microBatches: number,
): Prediction {
  const { graph, loss } = recordMicroBatch(config, trainable, shape);
  const plan: Plan = makePlan(graph, { loss });
  const count = (types: readonly NamedType[]) => types.reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1), 0);
  const memory = {
    weights: 4 * count(parameters),
    gradients: 4 * count(trainable),
    moments: 8 * count(trainable),
    intermediates: plan.arenaBytes,
    inputs: plan.inputBytes,
  };
  const cost = planCost(plan);
  return {
    parameters: count(parameters),
    trainable: count(trainable),
    memory: { ...memory, total: Object.values(memory).reduce((a, b) => a + b, 0) },
    recompute: shape.recompute,
    modelFlops: cost.modelFlops * microBatches,
    flops: cost.flops * microBatches,
  };
}
