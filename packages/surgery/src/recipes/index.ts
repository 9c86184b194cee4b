import type { ModelConfig } from "@slayer/checkpoint";
import type { BlockValues } from "../block-values.js";
import { PlanError } from "../errors.js";
import type { SurgeryPlan } from "../plan.js";
import type { CustomSurgery } from "./custom.js";
import { planCustom } from "./custom.js";
import { planLlamaPro } from "./llama-pro.js";
import { planPrune } from "./prune.js";
import { planSlayer } from "./slayer.js";
import { planSolar } from "./solar.js";

/** Values as a command line or a recipe file gives them; checked by `planRecipe`. */
export type RecipeOptions = Readonly<Record<string, string | number | boolean | undefined>>;

/** Data that a recipe can work from, beside its options. */
export interface RecipeInputs {
  /** How much each block matters: `slayer` and `prune` choose blocks by it. */
  readonly importance?: BlockValues;
  /** What `custom` does, from `parseCustomSurgery`. */
  readonly custom?: CustomSurgery;
}

type OptionRule = "number" | "boolean" | "string" | readonly string[];

interface Recipe {
  readonly options: Readonly<Record<string, OptionRule>>;
  /** Inputs that the recipe can use. */
  readonly inputs: readonly (keyof RecipeInputs)[];
  readonly plan: (config: ModelConfig, options: RecipeOptions, inputs: RecipeInputs) => SurgeryPlan;
}

const finals = ["deleted-mean", "kept-mean", "keep"];

/** Every recipe that can be asked for by name. To add one: its planner in this folder and its line here. */
const recipes: Readonly<Record<string, Recipe>> = {
  slayer: {
    options: {
      groups: "number",
      groupSize: "number",
      prune: "number",
      init: ["average", "copy"],
      final: finals,
      zero: "boolean",
      position: ["after-last", "before-last"],
      region: ["half", "third"],
      start: "number",
      pruneStart: "number",
    },
    inputs: ["importance"],
    plan: (config, options, { importance }) => planSlayer(config, options, importance),
  },
  "llama-pro": {
    options: { groups: "number", every: "number", init: ["copy"], zero: "boolean" },
    inputs: [],
    plan: planLlamaPro,
  },
  solar: { options: { trim: "number" }, inputs: [], plan: planSolar },
  prune: {
    options: { blocks: "string", prune: "number", choose: ["run", "lowest"], final: finals },
    inputs: ["importance"],
    plan: (config, options, { importance }) => planPrune(config, options, importance),
  },
  custom: {
    options: {},
    inputs: ["custom"],
    plan: (config, _options, { custom }) => {
      if (custom === undefined) throw new PlanError('recipe "custom" needs a file that says what to do');
      return planCustom(config, custom);
    },
  },
};

/** Names that `planRecipe` accepts. */
export const recipeNames: readonly string[] = Object.keys(recipes);

/**
 * Plans the recipe called `name`. Options left out or `undefined` take the recipe's defaults.
 *
 * Throws `PlanError` for an unknown recipe, an option or input that the recipe does not have, a value of the wrong kind,
 * or a plan that does not fit the model.
 */
export function planRecipe(
  name: string,
  config: ModelConfig,
  options: RecipeOptions = {},
  inputs: RecipeInputs = {},
): SurgeryPlan {
  const recipe = Object.hasOwn(recipes, name) ? recipes[name] : undefined;
  if (recipe === undefined) throw new PlanError(`unknown recipe "${name}"; available: ${recipeNames.join(", ")}`);
  for (const input of ["importance", "custom"] as const) {
    if (inputs[input] === undefined || recipe.inputs.includes(input)) continue;
    const what = input === "custom" ? "description of single blocks" : "importance scores";
    const able = recipeNames.filter((other) => recipes[other]?.inputs.includes(input));
    throw new PlanError(`recipe "${name}" takes no ${what}; ${able.join(" and ")} can`);
  }
  const given: Record<string, string | number | boolean> = {};
  for (const [option, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const rule = Object.hasOwn(recipe.options, option) ? recipe.options[option] : undefined;
    if (rule === undefined) {
      const known = Object.keys(recipe.options);
      const has = known.length === 0 ? "it has none" : `its options are ${known.join(", ")}`;
      throw new PlanError(`recipe "${name}" has no option "${option}"; ${has}`);
    }
    checkOption(name, option, rule, value);
    given[option] = value;
  }
  return recipe.plan(config, given, inputs);
}

function checkOption(recipe: string, option: string, rule: OptionRule, value: string | number | boolean): void {
  const fits = typeof rule === "string" ? typeof value === rule : rule.includes(String(value));
  if (fits) return;
  const wanted = typeof rule === "string" ? `a ${rule}` : rule.join(" or ");
  throw new PlanError(`recipe "${recipe}": ${option} must be ${wanted}, got ${JSON.stringify(value)}`);
}
