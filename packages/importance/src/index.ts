/** How much each transformer block of a model matters. */
export { angularDistances, type AngularOptions } from "./angular.js";
export type { SequenceBatch } from "./batch.js";
export { parseChoices, type ChoiceItem, type ChoiceText } from "./choices.js";
export { blockDrops, type DropData, type DropOptions } from "./drops.js";
export { ImportanceError } from "./errors.js";
export { gateGradients, type GateOptions } from "./gate.js";
export { parseScores } from "./parse-scores.js";
export type { MeasuredSamples } from "./samples.js";
export {
  leastImportant,
  type AngularScores,
  type BlockRun,
  type BlockScore,
  type DropScore,
  type DropScores,
  type DropUnit,
  type GateScores,
  type MeasuredModel,
  type SampleInterval,
  type Scores,
  type Settled,
} from "./scores.js";
export type { SettleOptions } from "./settle.js";
export { sweepEvaluations, type Change } from "./sweep.js";
export type { StreamedWeights } from "./weights.js";
