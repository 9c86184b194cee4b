import type { ModelConfig } from "@slayer/checkpoint";
import { PlanError, RecipeNotBuiltError } from "../errors.js";
import type { SurgeryPlan } from "../plan.js";
import { planLlamaPro } from "./llama-pro.js";
import { planSlayer } from "./slayer.js";

/** Values as a command line or a recipe file gives them; checked by `planRecipe`. */
export type RecipeOptions = Readonly<Record<string, string | number | boolean | undefined>>;

type OptionRule = "number" | "boolean" | readonly string[];

interface Recipe {
  readonly options: Readonly<Record<string, OptionRule>>;
  readonly plan: (config: ModelConfig, options: RecipeOptions) => SurgeryPlan;
}

/** Every recipe that can be asked for by name. To add one: its planner in this folder and its line here. */
const recipes: Readonly<Record<string, Recipe>> = {
  slayer: {
    options: {
      groups: "number",
      groupSize: "number",
      prune: "number",
      init: ["average", "copy"],
      final: ["deleted-mean", "kept-mean", "keep"],
      zero: "boolean",
      position: ["after-last", "before-last"],
      region: ["half", "third"],
    },
    plan: planSlayer,
  },
  "llama-pro": {
    options: { groups: "number", every: "number", init: ["copy"], zero: "boolean" },
    plan: planLlamaPro,
  },
};

const notBuilt: readonly string[] = ["solar", "prune", "custom"];

/** Names that `planRecipe` accepts. */
export const recipeNames: readonly string[] = Object.keys(recipes);

/**
 * Plans the recipe called `name`. Options left out or `undefined` take the recipe's defaults.
 *
 * Throws `RecipeNotBuiltError` for a recipe that has no planner yet, and `PlanError` for an unknown recipe, an option
 * the recipe does not have, a value of the wrong kind, or a plan that does not fit the model.
 */
export function planRecipe(name: string, config: ModelConfig, options: RecipeOptions = {}): SurgeryPlan {
  if (notBuilt.includes(name)) throw new RecipeNotBuiltError(name, recipeNames);
  const recipe = Object.hasOwn(recipes, name) ? recipes[name] : undefined;
  if (recipe === undefined) throw new PlanError(`unknown recipe "${name}"; available: ${recipeNames.join(", ")}`);
  const given: Record<string, string | number | boolean> = {};
  for (const [option, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const rule = Object.hasOwn(recipe.options, option) ? recipe.options[option] : undefined;
    if (rule === undefined) {
      const known = Object.keys(recipe.options).join(", ");
      throw new PlanError(`recipe "${name}" has no option "${option}"; its options are ${known}`);
    }
    checkOption(name, option, rule, value);
    given[option] = value;
  }
  return recipe.plan(config, given);
}

function checkOption(recipe: string, option: string, rule: OptionRule, value: string | number | boolean): void {
  const fits = typeof rule === "string" ? typeof value === rule : rule.includes(String(value));
  if (fits) return;
  const wanted = typeof rule === "string" ? `a ${rule}` : rule.join(" or ");
  throw new PlanError(`recipe "${recipe}": ${option} must be ${wanted}, got ${JSON.stringify(value)}`);
}
