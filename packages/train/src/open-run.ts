import { Tokenizer } from "@slayer/data";
import { type Backend, OutOfMemoryError } from "@slayer/tensor";
import { heldOutFiles } from "./data-files.js";
import { RecipeError } from "./errors.js";
import { checkExport } from "./export-result.js";
import type { TrainOptions } from "./loop.js";
import { type Geometry, openModel, type OpenModel, readGeometry } from "./model.js";
import { planRun, type Prediction, type RunPlan } from "./predict.js";
import { probe } from "./probe.js";
import type { Recipe } from "./recipe.js";
import { checkDirectory } from "./run-directory.js";
import type { Setup } from "./setup.js";

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

/** Rates, or undefined where there is no memory to measure them: time is not predicted then, but whether the run fits is. */
const measureWith =
  (recipe: Recipe, model: Geometry, backend: Backend) =>
  (...args: [Setup["shape"], Setup["precision"]]) =>
    probe(recipe, model, backend, ...args).catch((error: unknown) => {
      if (error instanceof OutOfMemoryError) return undefined;
      throw error;
    });

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

export interface CheckedRun {
  readonly model: OpenModel;
  readonly tokenizer: Tokenizer;
  readonly plan: RunPlan;
}

/** What is known of a run before its data is read, checked. */
export async function openRun(recipe: Recipe, backend: Backend, options: TrainOptions): Promise<CheckedRun> {
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
    const { perplexity = [], conversations = [] } = recipe.eval ?? {};
    for (const entry of [...perplexity, ...conversations]) await heldOutFiles(entry, options.directory);
    return { model, tokenizer, plan };
  } catch (error) {
    await model.checkpoint.close();
    throw error;
  }
}

/** A plan that cannot fit is a mistake in the recipe, said before anything is allocated. */
function checkFits({ memory, recompute }: Prediction, { name, capabilities }: Backend): void {
  const wanted = Math.max(memory.intermediates, memory.inputs);
  if (wanted <= capabilities.maxBufferBytes) return;
  throw new RecipeError(
    `the plan needs ${wanted} bytes of intermediates in one piece, the ${name} backend has at most ${capabilities.maxBufferBytes}; ${mend(recompute)}`,
  );
}

export const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** What makes a plan smaller. */
export const mend = (recompute: boolean) =>
  `lower batch.micro or sequence_length${recompute ? "" : ", or set recompute: block"}`;
