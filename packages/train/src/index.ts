export { InterruptedError, RecipeError, TrainingError } from "./errors.js";
export type { TrainOptions, TrainResult } from "./loop.js";
export { readMetrics, type EvalMetrics, type Metrics, type StepMetrics } from "./metrics.js";
export { checkRecipe, parseRecipe, type Recipe } from "./recipe.js";
export type { Prediction } from "./step.js";
export { dryRun, train } from "./train.js";
