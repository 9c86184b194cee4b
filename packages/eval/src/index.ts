/** Perplexity, comparison of models, and their statistics. */
export { compareLogits, type CompareLogitsOptions, type LogitsComparison } from "./compare-logits.js";
export { EvalError } from "./errors.js";
export { perplexity, type Perplexity, type PerplexityOptions } from "./perplexity.js";
