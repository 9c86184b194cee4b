import { mkdir, readdir, readFile, realpath, rm } from "node:fs/promises";
import { cpus, platform, totalmem } from "node:os";
import { join, sep } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { Tokenizer } from "@slayer/data";
import { loadWeights } from "@slayer/model";
import { type Backend, OutOfMemoryError } from "@slayer/tensor";
import { initialiseAdapter } from "./adapter.js";
import { metered } from "./dry-backend.js";
import { RecipeError } from "./errors.js";
import { checkExport, WHOLE_MODEL } from "./export-result.js";
import { runLoop, type TrainOptions, type TrainResult } from "./loop.js";
import { type Geometry, openModel, type OpenModel, readGeometry } from "./model.js";
import { openData } from "./open-data.js";
import { planRun, type Prediction } from "./predict.js";
import { probe } from "./probe.js";
import { RankAllocator } from "./rank-allocator.js";
import type { Recipe } from "./recipe.js";
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
  let model: OpenModel | undefined;
  try {
    model = await openModel(recipe);
    warnOfLength(recipe, model, options.warn);
    const tokenizer = await Tokenizer.load(recipe.model);
    if (tokenizer.vocabSize > model.config.vocabSize) {
      throw new RecipeError(
        `${recipe.model}: the tokenizer has ${tokenizer.vocabSize} ids, the model only ${model.config.vocabSize} embeddings`,
      );
    }
    const measure = options.measure ? measureWith(recipe, model, backend) : undefined;
    const { shape, precision, prediction } = await planRun(recipe, model, backend, measure);
    checkFits(prediction, backend);
    // Tokenizing can take hours; what is wrong with the directory is said before.
    await checkDirectory(recipe, options);
    await checkExport(recipe);
    data ??= await openData(recipe, options, tokenizer);
    const meter = metered(backend);
    try {
      setup = await setUp(recipe, model, meter.backend, shape, precision);
    } catch (error) {
      throw error instanceof OutOfMemoryError ? tooLarge(error, prediction) : error;
    }
    await load(recipe, model, setup, options.signal);
    const allocator = await RankAllocator.of(recipe.adapter, setup.optimizer, model.config, data.steps(recipe));
    // Last, when nothing of the recipe can be wrong any more: an old run is not given up for a mistake.
    await prepareDirectory(recipe, options);
    await describeEnvironment(recipe, backend, prediction);
    const parts = {
      recipe,
      options,
      model,
      setup,
      allocator,
      tokenizer,
      data,
      prediction,
      peakMemory: () => meter.peak(),
    };
    return await runLoop(parts);
  } finally {
    await data?.close();
    setup?.program.free();
    setup?.optimizer.free();
    setup?.store.free();
    await model?.checkpoint.close();
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
  const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const list = Object.entries(parts).flatMap(([name, bytes]) => (bytes > 0 ? [`${name} ${mebibytes(bytes)}`] : []));
  const takes = `the run takes ${mebibytes(total)}: ${list.join(", ")}`;
  return new OutOfMemoryError(`${error.message}; ${takes}; ${mend(recompute)}`, { cause: error });
}

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

/** Keys that may change when a run is resumed, since the curve does not depend on them. */
const FREE_KEYS = ["anomalies", "checkpoint", "eval", "export", "token_cache"] as const;

function fixedPart(recipe: Recipe): string {
  return JSON.stringify({ ...recipe, ...Object.fromEntries(FREE_KEYS.map((key) => [key, undefined])) });
}

const RUN_PARTS = [
  WHOLE_MODEL,
  "anomalies",
  "checkpoints",
  "delta",
  "environment.json",
  "metrics.jsonl",
  "model",
  "ranks.svg",
  "report.html",
  "summary.json",
  "tensorboard",
];

/**
 * Whether a run can have its directory: a new run's holds nothing that is in its way; a resumed one must have been started with
 * the same recipe. What is not a run's is never replaced, nor the model that the run starts from. Changes nothing.
 * @throws RecipeError
 */
export async function checkDirectory(
  recipe: Recipe,
  { resume, overwrite }: Pick<TrainOptions, "resume" | "overwrite">,
): Promise<void> {
  const { out } = recipe;
  const model = await realpath(recipe.model);
  for (const part of RUN_PARTS) {
    const path = await realpath(join(out, part)).catch(() => null);
    if (path !== null && (model === path || model.startsWith(path + sep))) {
      throw new RecipeError(`out: ${out} would replace ${recipe.model}, the model to start from; choose another out`);
    }
  }
  const file = join(out, "recipe.json");
  const before = await readFile(file, "utf8").catch(() => null);
  if (before !== null && resume && fixedPart(JSON.parse(before) as Recipe) !== fixedPart(recipe)) {
    throw new RecipeError(
      `${file} differs from the recipe given: a resumed run needs the one it was started with (but for ${FREE_KEYS.join(", ")})`,
    );
  }
  if (before !== null && !resume && !overwrite) {
    throw new RecipeError(`${out} holds a run already: --resume continues it, --overwrite replaces it`);
  }
  const there = await readdir(out).catch((): string[] => []);
  const foreign = RUN_PARTS.find((part) => there.includes(part));
  if (before === null && foreign !== undefined) {
    throw new RecipeError(`${join(out, foreign)} exists, but ${out} is not a run (no recipe.json); choose another out`);
  }
}

/** Empties the directory of a run that begins anew, and writes down the recipe. */
async function prepareDirectory(recipe: Recipe, options: TrainOptions): Promise<void> {
  await checkDirectory(recipe, options);
  const { out } = recipe;
  const file = join(out, "recipe.json");
  const text = `${JSON.stringify(recipe, null, 2)}\n`;
  const before = await readFile(file, "utf8").catch(() => null);
  if (before === null || !options.resume) {
    for (const part of [...RUN_PARTS, "recipe.json"]) await rm(join(out, part), { recursive: true, force: true });
    await mkdir(out, { recursive: true });
  }
  if (before !== text || !options.resume) await writeFileAtomic(file, text);
}
