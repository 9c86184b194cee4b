export { accumulateGradients, AdamW, companionName, type AdamWOptions, type NamedType } from "./adamw.js";
export { matchesPattern, selectParameters } from "./patterns.js";
export { learningRate, warmupSteps, type Schedule } from "./schedule.js";
