import { parseYaml } from "@slayer/checkpoint";
import { z } from "zod";
import { RecipeError } from "./errors.js";
import { rankSchedule } from "./rank-schedule.js";
import { adapter, adapterProblem } from "./recipe-adapter.js";
import { dataKeys, dataProblem, dataSource, heldOutText, type Packing, packingOf } from "./recipe-data.js";
import { assign } from "./recipe-set.js";

const count = z.int().positive();
const rate = z.number().nonnegative();

/** Some of the trainable parameters, by patterns on whole path segments, with their own settings. */
const parameterGroup = z.strictObject({
  parameters: z.array(z.string().min(1)).min(1),
  lr: rate.optional(),
  weight_decay: rate.optional(),
});

/** A training recipe, as `recipe.yaml` holds it; unknown keys are errors. Defaults are the paper's where it states them. */
const recipeSchema = z.strictObject({
  /** Hugging Face directory of the model to start from. */
  model: z.string().min(1),
  /** For a dry run without the model: its config.json, and which of its blocks surgery adds or updates. */
  geometry: z
    .strictObject({
      config: z.record(z.string(), z.json()),
      new_blocks: z.array(z.int().nonnegative()).default([]),
    })
    .optional(),
  stage: z.enum(["cpt", "sft"]).default("cpt"),
  /** What is trained: `provenance` (the new and updated blocks), `all`, or patterns on whole path segments. */
  trainable: z
    .union([z.enum(["provenance", "all"]), z.array(z.string().min(1)).min(1)], {
      error: "expected provenance, all, or a list of names such as [provenance, lm_head]",
    })
    .default("provenance"),
  /** Instead of `trainable`: the model stays as it is, and low-rank matrices beside its linear layers are trained. */
  adapter: adapter.optional(),
  data: z.array(dataSource).min(1),
  sequence_length: count.min(2),
  ...dataKeys,
  /** Sequences per optimizer step, and how many of them at a time. */
  batch: z.strictObject({ sequences: count, micro: count.optional() }),
  steps: count.optional(),
  epochs: z.number().positive().optional(),
  tokens: z.number().positive().optional(),
  optimizer: z
    .strictObject({
      name: z.literal("adamw").default("adamw"),
      lr: rate.default(2e-4),
      // At 1 the bias correction divides by 0, and so does a step without gradient where eps is 0.
      betas: z.tuple([rate.lt(1), rate.lt(1)]).default([0.9, 0.95]),
      eps: rate.min(1e-30).default(1e-8),
      weight_decay: rate.default(0.1),
      /**
       * With precision: bf16. nearest, the default: f32 masters of what is trained, rounded into bf16 copies. stochastic: what is trained is bf16
       * alone, each update rounded up or down at random such that the mean is right; the bits depend on `seed`, step and element.
       */
      rounding: z.enum(["nearest", "stochastic"]).optional(),
      /** Each trainable parameter must fall under exactly one. Default: all alike. */
      groups: z.array(parameterGroup).min(1).optional(),
    })
    .prefault({}),
  schedule: z
    .strictObject({
      name: z.enum(["cosine", "linear", "constant", "wsd"]).default("cosine"),
      /** A share of all steps below 1, or a number of steps. */
      warmup: rate.default(0.02),
      /** Learning rate at the end. */
      final: rate.default(0),
      /** wsd: the last steps, in which the rate falls; a share or a number. */
      decay: rate.optional(),
    })
    .refine(({ name, decay }) => decay === undefined || name === "wsd", "schedule.decay belongs to the schedule wsd")
    .prefault({}),
  /** Bound on the gradient norm; 0: none. */
  clip: rate.default(1),
  precision: z.enum(["f32", "bf16"]).default("f32"),
  /**
   * How weights lie in memory that are not trained. bf16: all of them; int8, nf4: the matrices of the blocks, with a scale per 64 values,
   * as they are loaded (what is written at the end is the original). Default: as `precision` says, or bf16 where they are stored so.
   */
  frozen: z.enum(["bf16", "int8", "nf4"]).optional(),
  recompute: z.enum(["auto", "none", "block"]).default("auto"),
  /** Held-out files or patterns; what `held_out` keeps apart is evaluated too. */
  eval: z
    .strictObject({
      every: count,
      perplexity: z.array(heldOutText).default([]),
      /** sft: files or patterns of conversations, of which the assistant's tokens are scored. */
      conversations: z.array(z.string().min(1)).default([]),
    })
    .optional(),
  checkpoint: z.strictObject({ every: count, keep: count.default(3) }).optional(),
  /** A loss or gradient that is not a number, or a loss so many nats above the median of the last 32 (0: never). */
  anomalies: z
    .strictObject({ action: z.enum(["stop", "skip"]).default("stop"), loss_rise: rate.default(3) })
    .prefault({}),
  /**
   * What the run leaves behind. delta: only the tensors that `base` (by default the model trained from) has not, for `slayer unpack`.
   * Does not concern adapters, which are as little already.
   */
  export: z
    .strictObject({ as: z.enum(["model", "delta"]).default("model"), base: z.string().min(1).optional() })
    .optional(),
  seed: z.int().nonnegative().default(1),
  /** The run's directory. */
  out: z.string().min(1),
});

export type Recipe = Omit<z.infer<typeof recipeSchema>, "packing"> & { packing: Packing };

/**
 * Checks a recipe given as YAML text; `set` holds `key=value` assignments with dotted keys, values in YAML, which go on top;
 * `key=null` takes a key out.
 * Throws RecipeError naming the key.
 */
export function parseRecipe(text: string, file: string, set: readonly string[] = []): Recipe {
  let raw: unknown;
  try {
    raw = parseYaml(text);
  } catch (error) {
    throw new RecipeError(`${file}: not valid YAML: ${(error as Error).message}`, { cause: error });
  }
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
    throw new RecipeError(`${file}: a recipe is a mapping of keys like 'model:' and 'data:'`);
  }
  for (const assignment of set) assign(raw as Record<string, unknown>, assignment);
  return checkRecipe(raw, file);
}

/** Checks a recipe given as data. */
export function checkRecipe(raw: unknown, file: string): Recipe {
  const parsed = recipeSchema.safeParse(raw, { reportInput: true });
  if (!parsed.success) throw new RecipeError(`${file}: ${parsed.error.issues.map(describeIssue).join("; ")}`);
  const recipe: Recipe = { ...parsed.data, packing: packingOf(parsed.data) };
  const lengths = ["steps", "epochs", "tokens"].filter((key) => recipe[key as "steps"] !== undefined);
  if (lengths.length !== 1) {
    throw new RecipeError(`${file}: give exactly one of steps, epochs, tokens; got ${lengths.join(" and ") || "none"}`);
  }
  const { sequences, micro = sequences } = recipe.batch;
  if (sequences % micro !== 0) {
    throw new RecipeError(`${file}: batch.sequences (${sequences}) must be a multiple of batch.micro (${micro})`);
  }
  if (recipe.adapter && recipe.trainable !== "provenance") {
    throw new RecipeError(`${file}: with an adapter the model's own weights are frozen; leave trainable out`);
  }
  if (recipe.optimizer.rounding === "stochastic" && (recipe.precision !== "bf16" || recipe.adapter)) {
    throw new RecipeError(
      `${file}: optimizer.rounding: stochastic is for weights of the model that are kept in bf16; it wants precision: bf16 and no adapter`,
    );
  }
  if (recipe.frozen && recipe.trainable === "all") {
    throw new RecipeError(`${file}: with trainable: all nothing is frozen; leave frozen out`);
  }
  if (recipe.export?.base !== undefined && recipe.export.as !== "delta") {
    throw new RecipeError(`${file}: export.base is what a delta is taken from; it belongs to export.as: delta`);
  }
  if (recipe.export?.as === "delta" && recipe.adapter) {
    throw new RecipeError(`${file}: an adapter is not a model, and has no delta; leave export out`);
  }
  if (recipe.adapter?.name === "adalora" && recipe.steps !== undefined) rankSchedule(recipe.adapter, recipe.steps);
  const problem = adapterProblem(recipe.adapter) ?? dataProblem(recipe);
  if (problem !== undefined) throw new RecipeError(`${file}: ${problem}`);
  const texts = recipe.eval?.perplexity.length ?? 0;
  const conversations = recipe.eval?.conversations.length ?? 0;
  if (conversations > 0 && recipe.stage === "cpt") {
    throw new RecipeError(`${file}: eval.conversations belongs to stage: sft`);
  }
  if (recipe.eval && texts + conversations === 0 && recipe.held_out === 0) {
    throw new RecipeError(
      `${file}: eval has nothing to evaluate: give eval.perplexity files, held_out a share, or for sft eval.conversations files`,
    );
  }
  return recipe;
}

/** What was wanted where, and what came. */
function describeIssue({ path, message, input }: z.core.$ZodIssue): string {
  const came = typeof input === "number" ? String(input) : JSON.stringify(input);
  const short = came === undefined || came.length < 80 ? came : `${came.slice(0, 80)}…`;
  const isSaid = short === undefined || path.length === 0 || /received (undefined|null|NaN|Infinity)/.test(message);
  return `${path.length === 0 ? "" : `${path.join(".")}: `}${message}${isSaid ? "" : `, got ${short}`}`;
}
