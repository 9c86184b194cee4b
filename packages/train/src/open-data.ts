import { Tokenizer } from "@slayer/data";
import type { Recipe } from "./recipe.js";
import { StreamedData } from "./streamed-data.js";
import { TokenizedData } from "./tokenized-data.js";
import type { DataOptions, TrainingData } from "./training-data.js";

/**
 * A recipe's data for training: tokenized now or found tokenized, or to be tokenized as it is used. `train` takes it as its option `data`
 * and closes it.
 */
export async function openData(recipe: Recipe, options: DataOptions = {}, known?: Tokenizer): Promise<TrainingData> {
  const tokenizer = known ?? (await Tokenizer.load(recipe.model));
  return recipe.streaming
    ? StreamedData.open(recipe, tokenizer, options)
    : TokenizedData.open(recipe, tokenizer, options);
}
