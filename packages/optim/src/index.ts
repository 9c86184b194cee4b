export { accumulateGradients } from "./accumulate-gradients.js";
export { AdamW, companionName, type AdamWOptions } from "./adamw.js";
export { addCompanions, Companions } from "./companions.js";
export { type GroupRule, type NamedType, parameterGroups, type ParameterGroup } from "./groups.js";
export { matchesPattern, selectParameters } from "./patterns.js";
export { decaySteps, learningRate, warmupSteps, type Schedule } from "./schedule.js";
