import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  Checkpoint,
  expectedTensors,
  type ModelConfig,
  parseConfig,
  readJson,
  readProvenance,
  type StoredDtype,
} from "@slayer/checkpoint";
import type { NamedType } from "@slayer/optim";
import { RecipeError } from "./errors.js";
import { adapterTypes } from "./adapter.js";
import type { Recipe } from "./recipe.js";
import type { AdapterSettings } from "./recipe-adapter.js";
import { type BlockKinds, selectTrainable } from "./trainable.js";

/** What is known of a model without its weights. */
export interface Geometry {
  readonly config: ModelConfig;
  /** Every tensor of the model, f32. */
  readonly parameters: readonly NamedType[];
  /** Those that are trained. */
  readonly trainable: readonly NamedType[];
  /** Beside the parameters, if it is what is trained. */
  readonly adapter?: AdapterSettings | undefined;
  /** How the checkpoint stores a tensor. */
  readonly stored: (name: string) => StoredDtype;
}

/** A recipe's model with its weights. Close the checkpoint after use. */
export interface OpenModel extends Geometry {
  readonly checkpoint: Checkpoint;
}

export async function openModel(recipe: Recipe): Promise<OpenModel> {
  const checkpoint = await Checkpoint.open(recipe.model);
  try {
    checkpoint.validate();
    const parameters = parametersOf(checkpoint.config);
    const { config } = checkpoint;
    const trainable = trainableOf(recipe, config, parameters, await readProvenance(recipe.model));
    const stored = (name: string) => checkpoint.info(name).dtype;
    return { checkpoint, config, parameters, trainable, stored, adapter: recipe.adapter };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * What can be known of a recipe's model for a dry run: from the model's directory, which needs no weights for it, or, where
 * there is none, from the recipe's `geometry`.
 */
export async function readGeometry(recipe: Recipe): Promise<Geometry & { readonly from: string }> {
  const file = join(recipe.model, "config.json");
  if (await isFile(file)) {
    const json = await readJson(file, "bad-config");
    return { ...geometryOf(recipe, json, file, await readProvenance(recipe.model)), from: file };
  }
  const { geometry } = recipe;
  if (!geometry) {
    throw new RecipeError(`model: ${file} is not there; a dry run without it needs the recipe's 'geometry'`);
  }
  const blocks = newBlocks(geometry.new_blocks, Number(geometry.config.num_hidden_layers));
  return { ...geometryOf(recipe, geometry.config, "geometry.config", { blocks }), from: "the recipe's geometry" };
}

function geometryOf(recipe: Recipe, json: unknown, file: string, provenance: BlockKinds | null): Geometry {
  const config = parseConfig(json, file);
  const parameters = parametersOf(config);
  const trainable = trainableOf(recipe, config, parameters, provenance);
  const stored = config.dtype === "bfloat16" ? "BF16" : config.dtype === "float16" ? "F16" : "F32";
  return { config, parameters, trainable, stored: () => stored, adapter: recipe.adapter };
}

function trainableOf(
  { adapter, trainable }: Recipe,
  config: ModelConfig,
  parameters: readonly NamedType[],
  provenance: BlockKinds | null,
): NamedType[] {
  return adapter ? adapterTypes(config, adapter) : selectTrainable(parameters, trainable, provenance);
}

function newBlocks(indices: readonly number[], count: number): BlockKinds["blocks"] {
  const beyond = indices.find((index) => index >= count);
  if (beyond !== undefined) {
    throw new RecipeError(`geometry.new_blocks: block ${beyond} is beyond the ${count} blocks of geometry.config`);
  }
  return Array.from({ length: count }, (_, index) => ({
    index,
    kind: indices.includes(index) ? "inserted" : "original",
  }));
}

function parametersOf(config: ModelConfig): NamedType[] {
  return [...expectedTensors(config)].map(([name, shape]) => ({ name, shape, dtype: "f32" }));
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isFile() ?? false;
}
