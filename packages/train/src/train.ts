import { cpus, platform, totalmem } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { Tokenizer } from "@slayer/data";
import { loadWeights } from "@slayer/model";
import { warmupSteps } from "@slayer/optim";
import { type Backend, OutOfMemoryError } from "@slayer/tensor";
import { initialiseAdapter } from "./adapter.js";
import { heldOutFiles } from "./data-files.js";
import { metered } from "./dry-backend.js";
import { RecipeError } from "./errors.js";
import { prepareEvaluation } from "./evaluation.js";
import { checkExport } from "./export-result.js";
import { runLoop, type TrainOptions, type TrainResult } from "./loop.js";
import { type Geometry, openModel, type OpenModel, readGeometry } from "./model.js";
import { openData } from "./open-data.js";
import { planRun, type Prediction, type RunPlan } from "./predict.js";
import { probe } from "./probe.js";
import { RankAllocator } from "./rank-allocator.js";
import type { Recipe } from "./recipe.js";
import { checkDirectory, prepareDirectory } from "./run-directory.js";
import { holdDirectory } from "./run-lock.js";
import { setUp, type Setup } from "./setup.js";

/**
 * What a run would take on a backend, exactly as planned, with the time of a step from measured rates; nothing is trained. The
 * model's weights are not needed: its config.json is enough, or the recipe's `geometry`.
 */
export async function dryRun(
  recipe: Recipe,
  backend: Backend,
  { warn }: Pick<TrainOptions, "warn"> = {},
): Promise<Prediction & { geometry: string }> {
  const model = await readGeometry(recipe);
  warnOfLength(recipe, model, warn);
  const { prediction } = await planRun(recipe, model, backend, measureWith(recipe, model, backend));
  return { ...prediction, geometry: model.from };
}

function warnOfLength(recipe: Recipe, { config }: Geometry, warn: TrainOptions["warn"]): void {
  if (recipe.sequence_length <= config.maxPositionEmbeddings) return;
  warn?.(
    `sequence_length ${recipe.sequence_length} is beyond the ${config.maxPositionEmbeddings} positions that the model is made for ` +
      "(max_position_embeddings): what it knows holds for shorter ones",
  );
}

function warnOfWarmup({ schedule }: Recipe, steps: number, warn: TrainOptions["warn"]): void {
  const warmup = warmupSteps(schedule, steps);
  if (warmup <= steps) return;
  warn?.(`schedule.warmup: ${warmup} steps are more than the run's ${steps}; it never gets to its full learning rate`);
}

const measureWith =
  (recipe: Recipe, model: Geometry, backend: Backend) =>
  (...args: [Setup["shape"], Setup["precision"]]) =>
    probe(recipe, model, backend, ...args);

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

/**
 * Whether a run can begin, as far as that is known without reading its data: the model, what is trained of it, the plan on this
 * backend, the run's directory, and whether files of held-out text are there. `train` checks it too; before data is tokenized for it,
 * which can take hours, this says what is wrong. Changes nothing. Throws what `train` does.
 */
export async function checkRun(
  recipe: Recipe,
  backend: Backend,
  options: Pick<TrainOptions, "resume" | "overwrite" | "directory"> = {},
): Promise<void> {
  const { resume = false, overwrite = false, directory } = options;
  const { model } = await openRun(recipe, backend, { resume, overwrite, directory });
  await model.checkpoint.close();
}

interface CheckedRun {
  readonly model: OpenModel;
  readonly tokenizer: Tokenizer;
  readonly plan: RunPlan;
}

/** What is known of a run before its data is read, checked. */
async function openRun(recipe: Recipe, backend: Backend, options: TrainOptions): Promise<CheckedRun> {
  const model = await openModel(recipe);
  try {
    warnOfLength(recipe, model, options.warn);
    const tokenizer = await Tokenizer.load(recipe.model);
    if (tokenizer.vocabSize > model.config.vocabSize) {
      throw new RecipeError(
        `${recipe.model}: the tokenizer has ${tokenizer.vocabSize} ids, the model only ${model.config.vocabSize} embeddings`,
      );
    }
    const measure = options.measure ? measureWith(recipe, model, backend) : undefined;
    const plan = await planRun(recipe, model, backend, measure);
    checkFits(plan.prediction, backend);
    const { memory, memoryFree } = plan.prediction;
    if (memory.total > memoryFree) {
      options.warn?.(`the run takes ${mebibytes(memory.total)}, more than the ${mebibytes(memoryFree)} that are free`);
    }
    await checkDirectory(recipe, options);
    await checkExport(recipe);
    for (const path of recipe.eval?.perplexity ?? []) await heldOutFiles(path, options.directory);
    return { model, tokenizer, plan };
  } catch (error) {
    await model.checkpoint.close();
    throw error;
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

/** A plan that cannot fit is a mistake in the recipe, said before anything is allocated. */
function checkFits({ memory, recompute }: Prediction, { name, capabilities }: Backend): void {
  const wanted = Math.max(memory.intermediates, memory.inputs);
  if (wanted <= capabilities.maxBufferBytes) return;
  throw new RecipeError(
    `the plan needs ${wanted} bytes of intermediates in one piece, the ${name} backend has at most ${capabilities.maxBufferBytes}; ${mend(recompute)}`,
  );
}

/** The backend's error, with what the whole run takes, by component. */
function tooLarge(error: OutOfMemoryError, { memory, recompute }: Prediction): OutOfMemoryError {
  const { total, ...parts } = memory;
  const list = Object.entries(parts).flatMap(([name, bytes]) => (bytes > 0 ? [`${name} ${mebibytes(bytes)}`] : []));
  const takes = `the run takes ${mebibytes(total)}: ${list.join(", ")}`;
  return new OutOfMemoryError(`${error.message}; ${takes}; ${mend(recompute)}`, { cause: error });
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

const mend = (recompute: boolean) =>
  `lower batch.micro or sequence_length${recompute ? "" : ", or set recompute: block"}`;

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
