import { mkdir, readdir, readFile, realpath, rm } from "node:fs/promises";
import { join, sep } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { RecipeError } from "./errors.js";
import { WHOLE_MODEL } from "./export-result.js";
import type { TrainOptions } from "./loop.js";
import type { Recipe } from "./recipe.js";

/** Keys that may change when a run is resumed, since the curve does not depend on them; its directory may have been moved. */
const FREE_KEYS = ["anomalies", "checkpoint", "eval", "export", "out", "token_cache"] as const;

/** Keys of which a run's recipe and another differ, those that may aside. */
function changedKeys(before: Readonly<Record<string, unknown>>, now: Readonly<Record<string, unknown>>): string[] {
  const free: readonly string[] = FREE_KEYS;
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(
    (key) => !free.includes(key) && JSON.stringify(before[key]) !== JSON.stringify(now[key]),
  );
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
  if (model === (await realpath(out).catch(() => null))) {
    throw new RecipeError(`out: ${out} is the model to start from; choose another out, the run's directory`);
  }
  for (const part of RUN_PARTS) {
    const path = await realpath(join(out, part)).catch(() => null);
    if (path !== null && (model === path || model.startsWith(path + sep))) {
      throw new RecipeError(`out: ${out} would replace ${recipe.model}, the model to start from; choose another out`);
    }
  }
  const file = join(out, "recipe.json");
  const before = await readFile(file, "utf8").catch(() => null);
  const changed = before !== null && resume ? changedKeys(parseRun(before, file), recipe) : [];
  if (changed.length > 0) {
    throw new RecipeError(
      `${file} and the recipe given differ in ${changed.join(", ")}: a resumed run needs the recipe it was started with (but for ${FREE_KEYS.join(", ")})`,
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

function parseRun(text: string, file: string): Record<string, unknown> {
  try {
    const recipe: unknown = JSON.parse(text);
    if (typeof recipe === "object" && recipe !== null) return recipe as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new RecipeError(`${file}: expected the recipe of the run that is to go on, as JSON; --overwrite begins anew`);
}

/** Empties the directory of a run that begins anew, and writes down the recipe. */
export async function prepareDirectory(recipe: Recipe, options: TrainOptions): Promise<void> {
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
