import { mkdir, readdir, readFile, realpath, rm } from "node:fs/promises";
import { freemem } from "node:os";
import { join, sep } from "node:path";
import { Checkpoint, expectedTensors, readProvenance, writeFileAtomic } from "@slayer/checkpoint";
import { Tokenizer } from "@slayer/data";
import { loadWeights } from "@slayer/model";
import { AdamW, type NamedType } from "@slayer/optim";
import { type Backend, Program, Store } from "@slayer/tensor";
import { TrainingData } from "./corpus.js";
import { RecipeError } from "./errors.js";
import type { Recipe } from "./recipe.js";
import { runLoop, type TrainOptions, type TrainResult } from "./loop.js";
import { type Prediction, predict, recordMicroBatch, type StepShape } from "./step.js";
import { selectTrainable } from "./trainable.js";

/** The model and rules of a recipe, opened: what planning needs and training goes on from. */
async function open(recipe: Recipe) {
  const checkpoint = await Checkpoint.open(recipe.model);
  checkpoint.validate();
  const parameters: NamedType[] = [...expectedTensors(checkpoint.config)].map(([name, shape]) => ({
    name,
    shape,
    dtype: "f32",
  }));
  const trainable = selectTrainable(parameters, recipe.trainable, await readProvenance(recipe.model));
  return { checkpoint, parameters, trainable };
}

/** The step's shape with recomputation decided: `auto` recomputes only if the plan would not fit into free memory. */
function choosePlan(
  recipe: Recipe,
  model: Awaited<ReturnType<typeof open>>,
): { shape: StepShape; prediction: Prediction } {
  const { sequences, micro = sequences } = recipe.batch;
  const { config } = model.checkpoint;
  const plan = (recompute: boolean) => {
    const shape = { batch: micro, length: recipe.sequence_length, segments: recipe.packing === "documents", recompute };
    return { shape, prediction: predict(config, model.parameters, model.trainable, shape, sequences / micro) };
  };
  if (recipe.recompute !== "auto") return plan(recipe.recompute === "block");
  const full = plan(false);
  return full.prediction.memory.total <= freemem() ? full : plan(true);
}

/** A plan that cannot fit is a mistake in the recipe, said before anything is allocated. */
function checkFits({ memory, recompute }: Prediction, { name, capabilities }: Backend): void {
  const wanted = Math.max(memory.intermediates, memory.inputs);
  if (wanted <= capabilities.maxBufferBytes) return;
  const mend = `lower batch.micro or sequence_length${recompute ? "" : ", or set recompute: block"}`;
  throw new RecipeError(
    `the plan needs ${wanted} bytes of intermediates in one piece, the ${name} backend has at most ${capabilities.maxBufferBytes}; ${mend}`,
  );
}

/** Memory and FLOPs of a run, exactly as planned; nothing is allocated or trained. */
export async function dryRun(recipe: Recipe): Promise<Prediction> {
  const model = await open(recipe);
  try {
    return choosePlan(recipe, model).prediction;
  } finally {
    await model.checkpoint.close();
  }
}

/**
 * Continued pre-training as the recipe says. The run's directory receives `recipe.json`, `metrics.jsonl`, `checkpoints/` and at
 * the end `model/`. On the reference backend a run that was killed and resumed gives the uninterrupted run's numbers bit for
 * bit. Throws RecipeError for what the user can mend, TrainingError if the run cannot go on, InterruptedError.
 */
export async function train(recipe: Recipe, backend: Backend, options: TrainOptions = {}): Promise<TrainResult> {
  const { signal, warn = () => {} } = options;
  const model = await open(recipe);
  const { checkpoint, trainable } = model;
  const store = new Store(backend);
  try {
    const tokenizer = await Tokenizer.load(recipe.model);
    if (tokenizer.vocabSize > checkpoint.config.vocabSize) {
      throw new RecipeError(
        `${recipe.model}: the tokenizer has ${tokenizer.vocabSize} ids, the model only ${checkpoint.config.vocabSize} embeddings`,
      );
    }
    const data = await TrainingData.open(recipe, tokenizer, warn);
    const { shape, prediction } = choosePlan(recipe, model);
    checkFits(prediction, backend);
    const { betas, eps, weight_decay: weightDecay } = recipe.optimizer;
    const optimizer = await AdamW.create(store, trainable, { betas, eps, weightDecay, clip: recipe.clip });
    await loadWeights(checkpoint, store, signal ? { signal } : {});
    const { graph, loss } = recordMicroBatch(checkpoint.config, trainable, shape);
    const program = await Program.compile(graph, { loss }, store);
    // Last, when nothing of the recipe can be wrong any more: an old run is not given up for a mistake.
    await prepareDirectory(recipe, options);
    const parts = { recipe, options, checkpoint, store, optimizer, program, shape, tokenizer, data };
    return await runLoop(parts, prediction);
  } finally {
    store.free();
    await checkpoint.close();
  }
}

const RUN_PARTS = ["checkpoints", "metrics.jsonl", "model"];

/**
 * A new run gets a directory in which nothing is in its way; a resumed one must have been started with the same recipe. What is
 * not a run's is never replaced, nor the model that the run starts from.
 */
async function prepareDirectory(recipe: Recipe, { resume, overwrite }: TrainOptions): Promise<void> {
  const { out } = recipe;
  const model = await realpath(recipe.model);
  for (const part of RUN_PARTS) {
    const path = await realpath(join(out, part)).catch(() => null);
    if (path !== null && (model === path || model.startsWith(path + sep))) {
      throw new RecipeError(`out: ${out} would replace ${recipe.model}, the model to start from; choose another out`);
    }
  }
  const file = join(out, "recipe.json");
  const text = `${JSON.stringify(recipe, null, 2)}\n`;
  const before = await readFile(file, "utf8").catch(() => null);
  if (before !== null && resume) {
    if (before !== text) {
      throw new RecipeError(`${file} differs from the recipe given: a resumed run needs the one it was started with`);
    }
    return;
  }
  if (before !== null && !overwrite) {
    throw new RecipeError(`${out} holds a run already: --resume continues it, --overwrite replaces it`);
  }
  const there = await readdir(out).catch((): string[] => []);
  const foreign = RUN_PARTS.find((part) => there.includes(part));
  if (before === null && foreign !== undefined) {
    throw new RecipeError(`${join(out, foreign)} exists, but ${out} is not a run (no recipe.json); choose another out`);
  }
  for (const part of [...RUN_PARTS, "recipe.json"]) await rm(join(out, part), { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  await writeFileAtomic(file, text);
}
