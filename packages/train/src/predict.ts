import { forward, typesIn } from "@slayer/model";
import { type Backend, type FloatDType, Graph, lmHeadLoss, planCost, Program, type Store } from "@slayer/tensor";
import { createDryBackend, metered } from "./dry-backend.js";
import { adapterElements, adaptWith } from "./adapter.js";
import { compileScoring } from "./held-out-conversations.js";
import type { Geometry } from "./model.js";
import { type Probe, updateBytes } from "./probe.js";
import type { Recipe } from "./recipe.js";
import { choosePrecision, groupsOf, type Precision, setUp, type StepShape } from "./setup.js";

/** What a run will take. Memory is the device's, in bytes, exactly as it will be allocated. */
export interface Prediction {
  parameters: number;
  trainable: number;
  /** Weight decay of the matrices that are trained, by number of tensors; norms and biases are not decayed. */
  decayed: { matrices: { weightDecay: number; tensors: number }[]; not: number };
  memory: {
    weights: number;
    /** f32 masters of bf16 working copies. */
    masters: number;
    gradients: number;
    moments: number;
    /** What AdaLoRA remembers of how much each weight matters. */
    importance: number;
    intermediates: number;
    inputs: number;
    /** What the backend needs beside them, such as panels of logits, as far as it tells. */
    workspace: number;
    /** While held-out text is scored. */
    evaluation: number;
    total: number;
  };
  /** Bytes free for it now: the device's, or this machine's where the device has no memory of its own or does not tell. */
  memoryFree: number;
  precision: { activations: FloatDType; trained: FloatDType; masters: boolean };
  recompute: boolean;
  /** What computing blocks again costs: its share of all arithmetic, and the bytes it saves. */
  recomputation: { share: number; saved: number } | null;
  /** Per optimizer step: what MFU counts, all arithmetic, and the bytes that must be moved at least. */
  modelFlops: number;
  flops: number;
  bytes: number;
  /** Tokens per optimizer step. */
  tokens: number;
  time: { secondsPerStep: number; tokensPerSecond: number; mfu: number; peakFlops: number; bandwidth: number } | null;
}

/** A run as planned: what it takes, and how its step is shaped. */
export interface RunPlan {
  readonly shape: StepShape;
  readonly precision: Precision;
  readonly prediction: Prediction;
}

/** A container may have less than the machine. CUDA's largest buffer is what was free of the device's memory. */
function memoryFreeFor({ name, capabilities }: Backend): number {
  return name === "cuda" ? capabilities.maxBufferBytes : process.availableMemory();
}

/**
 * Plans a run for a backend without allocating anything on it: `auto` recomputes blocks only if the plan would not fit otherwise,
 * into `memory` bytes, or its intermediates into one buffer. `measure` gives the device's rates; without it there is no
 * prediction of time.
 */
export async function planRun(
  recipe: Recipe,
  model: Geometry,
  backend: Backend,
  measure?: (shape: StepShape, precision: Precision) => Promise<Probe | undefined>,
  memory = memoryFreeFor(backend),
): Promise<RunPlan> {
  const { sequences, micro = sequences } = recipe.batch;
  const segments = recipe.packing !== "concatenate";
  const precision = choosePrecision(recipe, model, backend);
  const extents = { batch: micro, length: recipe.sequence_length, segments, alone: micro === sequences };
  const plan = (recompute: boolean) => rehearse(recipe, model, backend, { ...extents, recompute }, precision);
  const kept = await plan(false);
  const fits = kept.memory.total <= memory && kept.memory.intermediates <= backend.capabilities.maxBufferBytes;
  const recompute = recipe.recompute === "block" || (recipe.recompute === "auto" && !fits);
  const chosen = recompute ? await plan(true) : kept;
  const cost = planCost(chosen.plan);
  const shape = { ...extents, recompute };
  const microBatches = sequences / micro;
  const tokens = sequences * recipe.sequence_length;
  const rates = await measure?.(shape, precision);
  const modelFlops = cost.modelFlops * microBatches;
  const secondsPerStep = rates && microBatches * rates.seconds(chosen.plan) + rates.updateSeconds(chosen.updateBytes);
  const elements = (types: Geometry["parameters"]) =>
    types.reduce((n, { shape: extents }) => n + extents.reduce((a, b) => a * b, 1), 0);
  return {
    shape,
    precision,
    prediction: {
      parameters: elements(model.parameters),
      trainable: model.adapter
        ? model.trainable.reduce((n, type) => n + adapterElements(type), 0)
        : elements(model.trainable),
      decayed: decayOf(recipe, model),
      memory: chosen.memory,
      memoryFree: memory,
      precision: { activations: precision.activations, trained: precision.trained, masters: precision.masters },
      recompute,
      recomputation: recompute
        ? { share: cost.recomputedFlops / cost.flops, saved: kept.memory.total - chosen.memory.total }
        : null,
      modelFlops,
      flops: cost.flops * microBatches,
      bytes: cost.bytes * microBatches + chosen.updateBytes,
      tokens,
      time:
        rates && secondsPerStep
          ? {
              secondsPerStep,
              tokensPerSecond: tokens / secondsPerStep,
              mfu: modelFlops / secondsPerStep / rates.peakFlops,
              peakFlops: rates.peakFlops,
              bandwidth: rates.bandwidth,
            }
          : null,
    },
  };
}

function decayOf(recipe: Recipe, { trainable }: Geometry): Prediction["decayed"] {
  const tensors = new Map<number, number>();
  let not = 0;
  for (const { weightDecay, parameters } of groupsOf(recipe, trainable)) {
    if (parameters[0]!.shape.length < 2) not += parameters.length;
    else tensors.set(weightDecay, (tensors.get(weightDecay) ?? 0) + parameters.length);
  }
  return { matrices: Array.from(tensors, ([weightDecay, count]) => ({ weightDecay, tensors: count })), not };
}

/** Sets the run up on a backend that allocates nothing, and counts. */
async function rehearse(recipe: Recipe, model: Geometry, backend: Backend, shape: StepShape, precision: Precision) {
  const meter = metered(createDryBackend(backend));
  const setup = await setUp(recipe, model, meter.backend, shape, precision);
  const { store, optimizer, program } = setup;
  const { elements } = optimizer;
  const parts = {
    masters: precision.masters ? 4 * elements : 0,
    gradients: 4 * elements,
    moments: 8 * elements,
    importance: model.adapter?.name === "adalora" ? 8 * elements : 0,
  };
  const workspace = meter.workspace();
  const before = meter.bytes();
  if (recipe.eval) await rehearseEvaluation(recipe, model, store);
  const { arenaBytes, inputBytes } = program.plan;
  const steps = optimizer.plans.reduce((sum, plan) => sum + plan.arenaBytes + plan.inputBytes, 0);
  const memory = {
    weights: store.bytes - parts.masters - parts.gradients - parts.moments - parts.importance,
    ...parts,
    intermediates: arenaBytes,
    inputs: inputBytes + steps,
    workspace,
    evaluation: meter.peak() - before,
  };
  const total = Object.values(memory).reduce((a, b) => a + b, 0);
  return { memory: { ...memory, total }, plan: program.plan, updateBytes: updateBytes(setup) };
}

/** The forward pass that scores held-out text, one window at a time. */
async function rehearseEvaluation(recipe: Recipe, model: Geometry, store: Store) {
  const [batch, length] = [1, recipe.sequence_length];
  const adapt = model.adapter && { adapt: adaptWith(model.adapter) };
  const { conversations = [], perplexity = [] } = recipe.eval ?? {};
  if (conversations.length > 0) (await compileScoring(model.config, store, length, adapt)).free();
  if (perplexity.length === 0 && recipe.held_out === 0) return;
  const graph = new Graph();
  const { final, head } = forward(graph, model.config, { batch, length, weights: typesIn(store), ...adapt });
  const output = lmHeadLoss(final, head, graph.input("targets", [batch, length], "i32"));
  (await Program.compile(graph, { output }, store)).free();
}
