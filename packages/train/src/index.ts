export type { Preview } from "@slayer/data";
export { type DataOptions, openData, previewData, type SourceSummary, type TrainingData } from "./corpus.js";
export { InterruptedError, RecipeError, TrainingError } from "./errors.js";
export type { Measured, TrainOptions, TrainResult } from "./loop.js";
export { readMetrics, type EvalMetrics, type Metrics, type SkippedStep, type StepMetrics } from "./metrics.js";
export type { Prediction } from "./predict.js";
export { checkRecipe, parseRecipe, type Recipe } from "./recipe.js";
export { checkDirectory, dryRun, train } from "./train.js";
