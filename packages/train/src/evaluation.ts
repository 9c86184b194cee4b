import { perplexity } from "@slayer/eval";
import { adaptWith } from "./adapter.js";
import { heldOutIds, heldOutPath } from "./data-files.js";
import { RecipeError } from "./errors.js";
import { heldOutConversations, scoreConversations } from "./held-out-conversations.js";
import type { RunParts } from "./loop.js";

/** Nats per token of each held-out text, and per scored token of held-out conversations, by path. */
export type Evaluate = () => Promise<Record<string, number>>;

/** Tokenizes the held-out files once; the returned function scores them with the weights as they stand. */
export async function prepareEvaluation({
  recipe,
  options,
  model,
  setup,
  tokenizer,
  data,
}: Omit<RunParts, "evaluate">): Promise<Evaluate> {
  const files = await Promise.all(
    (recipe.eval?.perplexity ?? []).map(async (entry) => ({
      path: heldOutPath(entry),
      ...(await heldOutIds(entry, tokenizer, recipe, options)),
    })),
  );
  if (recipe.eval) files.push(...data.heldOut());
  const short = files.find(({ ids }) => ids.length < 2);
  if (short) {
    throw new RecipeError(`eval: ${short.path} has ${short.ids.length} tokens; at least 2 are needed for one to score`);
  }
  const conversations = await Promise.all(
    (recipe.eval?.conversations ?? []).map(async (path) => ({
      path,
      batches: await heldOutConversations(path, tokenizer, recipe, options),
    })),
  );
  const adapt = recipe.adapter && { adapt: adaptWith(recipe.adapter) };
  return async () => {
    const losses: Record<string, number> = {};
    for (const { path, ids, bytes } of files) {
      const result = await perplexity(model.config, setup.store, ids, {
        sequenceLength: recipe.sequence_length,
        bytes,
        ...adapt,
      });
      losses[path] = result.nats_per_token;
    }
    for (const { path, batches } of conversations) {
      losses[path] = await scoreConversations(model.config, setup.store, batches, adapt);
    }
    return losses;
  };
}
