import { cpus, platform, totalmem } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { loadWeights } from "@slayer/model";
import { warmupSteps } from "@slayer/optim";
import { type Backend, OutOfMemoryError } from "@slayer/tensor";
import { initialiseAdapter } from "./adapter.js";
import { metered } from "./dry-backend.js";
import { prepareEvaluation } from "./evaluation.js";
import { runLoop, type TrainOptions, type TrainResult } from "./loop.js";
import type { OpenModel } from "./model.js";
import { openData } from "./open-data.js";
import { type CheckedRun, mebibytes, mend, openRun } from "./open-run.js";
import type { Prediction } from "./predict.js";
import { RankAllocator } from "./rank-allocator.js";
import type { Recipe } from "./recipe.js";
import { prepareDirectory } from "./run-directory.js";
import { holdDirectory } from "./run-lock.js";
import { setUp, type Setup } from "./setup.js";

function warnOfWarmup({ schedule }: Recipe, steps: number, warn: TrainOptions["warn"]): void {
  const warmup = warmupSteps(schedule, steps);
  if (warmup <= steps) return;
  warn?.(`schedule.warmup: ${warmup} steps are more than the run's ${steps}; it never gets to its full learning rate`);
}

/**
 * Continued pre-training or supervised fine-tuning as the recipe says. The run's directory receives `recipe.json`, `environment.json`, `metrics.jsonl`,
 * `tensorboard/`, `checkpoints/` and at the end `model/` and `summary.json`. On the backends reference and cpu a run that was
 * killed and resumed gives the uninterrupted run's numbers bit for bit. Throws RecipeError for what the user can mend,
 * TrainingError if the run cannot go on, InterruptedError.
 */
export async function train(recipe: Recipe, backend: Backend, options: TrainOptions = {}): Promise<TrainResult> {
  let setup: Setup | undefined;
  let { data } = options;
  let checked: CheckedRun | undefined;
  let letGo: (() => void) | undefined;
  try {
    checked = await openRun(recipe, backend, options);
    const { model, tokenizer } = checked;
    const { shape, precision, prediction } = checked.plan;
    data ??= await openData(recipe, options, tokenizer);
    warnOfWarmup(recipe, data.steps(recipe), options.warn);
    const meter = metered(backend);
    try {
      setup = await setUp(recipe, model, meter.backend, shape, precision);
    } catch (error) {
      throw error instanceof OutOfMemoryError ? tooLarge(error, prediction) : error;
    }
    await load(recipe, model, setup, options.signal);
    const allocator = await RankAllocator.of(recipe.adapter, setup.optimizer, model.config, data.steps(recipe));
    const peakMemory = () => meter.peak();
    const parts = { recipe, options, model, setup, allocator, tokenizer, data, prediction, peakMemory };
    const evaluate = await prepareEvaluation(parts);
    // Last, when nothing of the recipe can be wrong any more: an old run is not given up for a mistake.
    letGo = await holdDirectory(recipe.out);
    await prepareDirectory(recipe, options);
    await describeEnvironment(recipe, backend, prediction);
    return await runLoop({ ...parts, evaluate });
  } finally {
    letGo?.();
    await data?.close();
    setup?.program.free();
    setup?.optimizer.free();
    setup?.store.free();
    await checked?.model.checkpoint.close();
  }
}

/** Weights, and the masters of those that are trained as copies. */
async function load(
  { adapter, seed }: Recipe,
  { checkpoint }: OpenModel,
  { store, optimizer }: Setup,
  signal?: AbortSignal,
): Promise<void> {
  await loadWeights(checkpoint, store, signal ? { signal } : {});
  if (adapter) await initialiseAdapter(store, optimizer, adapter, seed);
  else
    for (const { name } of optimizer.trainable) {
      const master = optimizer.masterName(name);
      if (master !== name) await store.write(master, await checkpoint.readF32(name));
    }
  await optimizer.roundMasters();
}

/** The backend's error, with what the whole run takes, by component. */
function tooLarge(error: OutOfMemoryError, { memory, recompute }: Prediction): OutOfMemoryError {
  const { total, ...parts } = memory;
  const list = Object.entries(parts).flatMap(([name, bytes]) => (bytes > 0 ? [`${name} ${mebibytes(bytes)}`] : []));
  const takes = `the run takes ${mebibytes(total)}: ${list.join(", ")}`;
  return new OutOfMemoryError(`${error.message}; ${takes}; ${mend(recompute)}`, { cause: error });
}

/** Where the run takes place, and what it was expected to take. */
async function describeEnvironment(recipe: Recipe, backend: Backend, prediction: Prediction): Promise<void> {
  const environment = {
    date: new Date().toISOString(),
    node: process.versions.node,
    platform: `${platform()}-${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memory_bytes: totalmem(),
    backend: backend.name,
    device: backend.capabilities.device,
    predicted: prediction,
  };
  await writeFileAtomic(join(recipe.out, "environment.json"), `${JSON.stringify(environment, null, 2)}\n`);
}
