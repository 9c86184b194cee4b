import { blockOf, blockTensors, type ModelConfig } from "@slayer/checkpoint";
import { addWeight, forward, type ForwardOptions, typesIn, type WeightForm } from "@slayer/model";
import { accumulateGradients, AdamW, type NamedType, parameterGroups } from "@slayer/optim";
import {
  type Backend,
  type FloatDType,
  Graph,
  lmHeadLoss,
  Program,
  Store,
  sum,
  type Tensor,
  type TensorType,
} from "@slayer/tensor";
import { RecipeError } from "./errors.js";
import { adapterState, adaptWith } from "./adapter.js";
import type { Geometry } from "./model.js";
import { RankAllocator } from "./rank-allocator.js";
import type { Recipe } from "./recipe.js";

export interface StepShape {
  /** Sequences per micro-batch. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
  /** Keep attention within documents. */
  segments: boolean;
  recompute: boolean;
  /** Whether a step has no other micro-batch: its gradients then take the place of the last step's. */
  alone: boolean;
}

/** In which types a run computes and stores. */
export interface Precision {
  activations: FloatDType;
  /** What the model computes with of what is trained; masters, gradients and moments are f32. */
  trained: FloatDType;
  /** Whether there are masters beside it. */
  masters: boolean;
  /** By name. */
  frozen: (name: string) => WeightForm;
}

/** A run's memory and programs, before any weight is read. */
export interface Setup {
  readonly store: Store;
  readonly optimizer: AdamW;
  /** One micro-batch forward and backward. */
  readonly program: Program;
  readonly shape: StepShape;
  readonly precision: Precision;
}

/** One micro-batch: forward, loss (sum over scored tokens), and gradients of the trainable parameters, accumulated unless it is alone. */
export function recordMicroBatch(
  config: ModelConfig,
  trainable: readonly NamedType[],
  { batch, length, segments, recompute, alone }: StepShape,
  types: Pick<ForwardOptions, "dtype" | "weights" | "adapt"> = {},
): { graph: Graph; loss: Tensor } {
  const graph = new Graph();
  const { final, head } = forward(graph, config, { batch, length, segments, ...types });
  const loss = sum(lmHeadLoss(final, head, graph.input("targets", [batch, length], "i32")));
  accumulateGradients(loss, trainable, { recompute: () => recompute, overwrite: alone });
  return { graph, loss };
}

/**
 * The types of a run on a backend. Frozen weights that the checkpoint stores as BF16 stay that where the backend can: the same
 * numbers in half the memory. `precision: bf16` rounds the other weights too, and the activations where the backend can. `frozen`
 * says it of the frozen weights alone: bf16 of all of them, int8 and nf4 of the matrices in the blocks.
 */
export function choosePrecision(recipe: Recipe, model: Geometry, backend: Backend): Precision {
  const { name, capabilities } = backend;
  const bf16 = capabilities.dtypes.includes("bf16");
  const half = recipe.precision === "bf16";
  if (half && !bf16) throw new RecipeError(`precision: bf16 is not built for the backend ${name}; use precision: f32`);
  if (recipe.optimizer.rounding === "stochastic" && !canRound(backend)) {
    throw new RecipeError(`optimizer.rounding: stochastic is not built for the backend ${name}; leave it out`);
  }
  if (recipe.frozen === "bf16" && !bf16) {
    throw new RecipeError(`frozen: bf16 is not built for the backend ${name}; leave it out`);
  }
  const asStored = (weight: string) => (bf16 && model.stored(weight) === "BF16" ? "bf16" : "f32");
  const plain = (weight: string) => (half || recipe.frozen === "bf16" ? "bf16" : asStored(weight));
  const form = recipe.frozen === "int8" || recipe.frozen === "nf4" ? recipe.frozen : null;
  const inBlock = blockTensors(model.config);
  const isMatrix = (weight: string) => inBlock.get(blockOf(weight)?.suffix ?? "")?.length === 2;
  return {
    activations: half && capabilities.activations.includes("bf16") ? "bf16" : "f32",
    trained: half ? "bf16" : "f32",
    masters: half && recipe.optimizer.rounding !== "stochastic",
    frozen: (weight) => (form && isMatrix(weight) ? form : plain(weight)),
  };
}

function canRound(backend: Backend): boolean {
  const type = (dtype: FloatDType, n = 256): TensorType => ({ shape: [n], dtype });
  const inputs = [type("bf16"), type("f32"), type("f32"), type("f32"), type("f32", 1), type("f32", 4)];
  const attrs = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, stochastic: true, seed: 0 };
  return backend.supports({ op: "adamw", attrs, inputs, outputs: [] }) === true;
}

/** Lays out a run's memory on a backend, and compiles its programs. Weights are zero: load them afterwards. */
export async function setUp(
  recipe: Recipe,
  model: Geometry,
  backend: Backend,
  shape: StepShape,
  precision: Precision,
): Promise<Setup> {
  const store = new Store(backend);
  let optimizer: AdamW | undefined;
  try {
    const { trainable } = model;
    const { betas, eps, weight_decay: weightDecay } = recipe.optimizer;
    optimizer = await AdamW.create(store, trainable, {
      ...{ betas, eps, weightDecay, clip: recipe.clip, groups: groupsOf(recipe, trainable), overwrite: shape.alone },
      ...(precision.trained === "bf16" &&
        (precision.masters ? { working: "bf16" } : { stochastic: { seed: recipe.seed } })),
    });
    for (const type of model.parameters) {
      if (!store.has(type.name)) addWeight(store, type.name, type.shape, precision.frozen(type.name));
    }
    const { adapter } = model;
    if (adapter) store.add({ ...adapterState(adapter), dtype: precision.trained });
    if (adapter?.name === "adalora") RankAllocator.addState(optimizer, model.config, adapter);
    const types = {
      dtype: precision.activations,
      weights: typesIn(store),
      ...(adapter && { adapt: adaptWith(adapter) }),
    };
    const { graph, loss } = recordMicroBatch(model.config, trainable, shape, types);
    const program = await Program.compile(graph, { loss }, store);
    return { store, optimizer, program, shape, precision };
  } catch (error) {
    optimizer?.free();
    store.free();
    throw error;
  }
}

/** What is trained, by how it is updated. Throws a RecipeError where the recipe's groups do not cover each parameter once. */
export function groupsOf(
  { optimizer: { lr, weight_decay: weightDecay, groups } }: Recipe,
  trainable: readonly NamedType[],
) {
  const rules = groups?.map(({ weight_decay, ...rule }) => ({ ...rule, weightDecay: weight_decay }));
  try {
    return parameterGroups(trainable, { lr, weightDecay, ...(rules && { rules }) });
  } catch (error) {
    throw new RecipeError(`optimizer.groups: ${(error as Error).message}`, { cause: error });
  }
}
