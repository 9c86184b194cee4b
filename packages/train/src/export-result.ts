import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Checkpoint } from "@slayer/checkpoint";
import { packDelta } from "@slayer/surgery";
import { exportModel } from "./export.js";
import { exportAdapter } from "./export-adapter.js";
import type { RunParts } from "./loop.js";
import type { Recipe } from "./recipe.js";

/** In the run's directory while a delta is made of it. */
export const WHOLE_MODEL = ".whole-model";

/** Before training: what will be written as the difference from a base needs one that can be read. Throws a CheckpointError. */
export async function checkExport(recipe: Pick<Recipe, "export">): Promise<void> {
  if (recipe.export?.base === undefined) return;
  const base = await Checkpoint.open(recipe.export.base);
  try {
    base.validate();
  } finally {
    await base.close();
  }
}

/** Writes what was trained as the recipe wants it, and returns its directory: an adapter, a model, or a model's difference from a base. */
export async function exportResult(
  parts: Pick<RunParts, "recipe" | "model" | "setup" | "data" | "allocator">,
  steps: number,
  tokens: number,
): Promise<string> {
  const { recipe, model, data } = parts;
  const { store, optimizer } = parts.setup;
  const names = new Map(optimizer.trainable.map(({ name }) => [name, optimizer.masterName(name)]));
  const card = `# ${recipe.out}\n\nPost-trained by Slayer from ${recipe.model}: ${steps} steps, ${tokens} tokens, ${names.size} trained tensors.\n`;
  const out = join(recipe.out, "model");
  if (recipe.adapter) {
    await exportAdapter(parts, out, card);
    return out;
  }
  // The model has learnt this template, and needs it to be talked to.
  const files = data.chatTemplate === undefined ? {} : { "chat_template.jinja": data.chatTemplate };
  const write = (dir: string) => exportModel(model.checkpoint, store, names, dir, card, files);
  if (recipe.export?.as !== "delta") {
    await write(out);
    return out;
  }
  const [whole, delta] = [join(recipe.out, WHOLE_MODEL), join(recipe.out, "delta")];
  try {
    await write(whole);
    await pack(recipe.export.base, model.checkpoint, whole, delta);
  } finally {
    await rm(whole, { recursive: true, force: true });
  }
  return delta;
}

/** `baseDir` names another base than the model that training started from. */
async function pack(baseDir: string | undefined, start: Checkpoint, modelDir: string, outDir: string): Promise<void> {
  const trained = await Checkpoint.open(modelDir);
  const other = baseDir === undefined ? undefined : await Checkpoint.open(baseDir);
  try {
    await packDelta(other ?? start, trained, outDir, { overwrite: true });
  } finally {
    await other?.close();
    await trained.close();
  }
}
