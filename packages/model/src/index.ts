export {
  type Adapt,
  blockScope,
  forward,
  forwardBlock,
  forwardEmbedding,
  forwardHead,
  forwardInputs,
  type Forward,
  type ForwardOptions,
} from "./forward.js";
export { generate, type GenerateOptions } from "./generate.js";
export { ropeFrequencies } from "./rope-frequencies.js";
export type { Sampling } from "./sample.js";
export { addWeight, loadWeights, type LoadOptions, typesIn, type WeightForm, writeWeight } from "./weights.js";
