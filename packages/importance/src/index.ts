/** How much each transformer block of a model matters. */
export { angularDistances, type AngularOptions } from "./angular.js";
export type { SequenceBatch } from "./batch.js";
export { ImportanceError } from "./errors.js";
export { parseScores } from "./parse-scores.js";
export type { AngularScores, BlockRun, BlockScore } from "./scores.js";
