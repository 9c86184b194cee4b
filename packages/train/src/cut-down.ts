import { expectedTensors, type ModelConfig } from "@slayer/checkpoint";
import { matchesPattern, type NamedType } from "@slayer/optim";
import { makePlan, planCost } from "@slayer/tensor";
import { adapterTypes, adaptWith } from "./adapter.js";
import type { Geometry } from "./model.js";
import { recordMicroBatch, type StepShape } from "./setup.js";

/** Largest extents to try, best first: tokens of a micro-batch, D, V. */
const LIMITS = [
  [8192, 4096, 65536],
  [4096, 4096, 32768],
  [2048, 2048, 32768],
  [1024, 1024, 16384],
  [512, 1024, 8192],
  [512, 512, 4096],
  [256, 256, 2048],
  [128, 128, 1024],
] as const;

/**
 * The model and step of a run, cut down until a step has at most `flops`: two blocks, the upper one frozen, and extents no larger
 * than they need be for each kind of kernel to be what it is in the run. The smallest cut is taken in any case.
 */
export function cutDown(model: Geometry, shape: StepShape, flops: number): { model: Geometry; shape: StepShape } {
  for (const limits of LIMITS) {
    const [tokens, D, V] = limits;
    const small = cutTo(model, shape, tokens, D, V);
    const adapt = model.adapter && { adapt: adaptWith(model.adapter) };
    const { graph, loss } = recordMicroBatch(small.model.config, small.model.trainable, small.shape, adapt);
    const last = limits === LIMITS.at(-1);
    if (last || planCost(makePlan(graph, { loss })).flops <= flops) return small;
  }
  throw new Error("there is always a last cut");
}

function cutTo(model: Geometry, shape: StepShape, tokens: number, D: number, V: number) {
  const config = cutConfig(model.config, D, V);
  const parameters = [...expectedTensors(config)].map(([name, extents]): NamedType => ({
    name,
    shape: extents,
    dtype: "f32",
  }));
  // Block 0 stands for what is trained in any block, block 1 for what the gradient passes through.
  const trained = new Set(model.trainable.map(({ name }) => name.replace(/^model\.layers\.\d+\./, "model.layers.0.")));
  const length = Math.min(shape.length, tokens);
  const trainable = model.adapter
    ? adapterTypes(config, model.adapter)
    : parameters.filter(({ name }) => trained.has(name));
  return {
    model: { ...model, config, parameters, trainable, stored: storedAs(model) },
    shape: { ...shape, length, batch: Math.min(shape.batch, Math.max(1, Math.floor(tokens / length))) },
  };
}

function cutConfig(config: ModelConfig, D: number, V: number): ModelConfig {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = config;
  const small = Math.min(D, hiddenSize);
  const group = heads / kvHeads;
  const kv = Math.max(1, Math.floor((kvHeads * small) / hiddenSize));
  return {
    ...config,
    blocks: Math.min(2, config.blocks),
    hiddenSize: small,
    intermediateSize: Math.max(1, Math.round((intermediateSize * small) / hiddenSize)),
    kvHeads: kv,
    heads: kv * group,
    headDim,
    vocabSize: Math.min(V, vocabSize),
  };
}

/** Blocks beyond those that are there are not asked for; the name of any block's tensor tells how the type is stored. */
function storedAs({ stored, parameters }: Geometry): Geometry["stored"] {
  return (name) => stored(parameters.find((known) => matchesPattern(name, known.name))?.name ?? parameters[0]!.name);
}
