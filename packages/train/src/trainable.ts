import { blockOf, type Provenance } from "@slayer/checkpoint";
import { type NamedType, selectParameters } from "@slayer/optim";
import { RecipeError } from "./errors.js";
import type { Recipe } from "./recipe.js";

/** What of a provenance record says which blocks are new. */
export interface BlockKinds {
  readonly blocks: readonly Pick<Provenance["blocks"][number], "index" | "kind">[];
}

/** Short names a recipe may use besides paths. */
const SHORT: Readonly<Record<string, string>> = {
  lm_head: "lm_head",
  embed_tokens: "model.embed_tokens",
  norm: "model.norm",
};

/**
 * The parameters that a recipe trains, in checkpoint order; everything else is frozen, so each parameter falls under exactly one
 * rule. `provenance` stands for the inserted and updated blocks of the surgery's record.
 */
export function selectTrainable(
  parameters: readonly NamedType[],
  trainable: Recipe["trainable"],
  provenance: BlockKinds | null,
): NamedType[] {
  if (trainable === "all") return [...parameters];
  const rules = trainable === "provenance" ? ["provenance"] : trainable;
  const chosen = new Set<string>();
  const names = parameters.map(({ name }) => name);
  for (const rule of rules) {
    if (rule === "provenance") {
      for (const name of fromProvenance(names, provenance)) chosen.add(name);
      continue;
    }
    if (rule === "lm_head" && !names.includes("lm_head.weight")) {
      throw new RecipeError("trainable: this model ties lm_head to the embedding; name embed_tokens instead");
    }
    try {
      for (const name of selectParameters(names, [SHORT[rule] ?? rule])) chosen.add(name);
    } catch (error) {
      throw new RecipeError(`trainable: ${(error as Error).message}`, { cause: error });
    }
  }
  return parameters.filter(({ name }) => chosen.has(name));
}

function fromProvenance(names: readonly string[], provenance: BlockKinds | null): string[] {
  if (!provenance) {
    throw new RecipeError(
      "trainable: provenance needs the model's provenance.json (slayer expand writes it); without one, say 'all' or list patterns",
    );
  }
  const blocks = new Set(provenance.blocks.filter(({ kind }) => kind !== "original").map(({ index }) => index));
  const chosen = names.filter((name) => blocks.has(blockOf(name)?.block ?? -1));
  if (chosen.length === 0) throw new RecipeError("trainable: provenance.json names no inserted or updated block");
  return chosen;
}
