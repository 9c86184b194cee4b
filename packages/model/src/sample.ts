/** How the next token is chosen. Temperature 0 is greedy: the largest logit, the lowest id among equals. */
export interface Sampling {
  temperature?: number;
  /** Nucleus sampling (Holtzman et al. 2020): the smallest set of tokens whose probabilities reach topP. Default 1: all. */
  topP?: number;
  /** Uniform in [0, 1); needed unless greedy. */
  random?: () => number;
}

/** One token id from logits [V]. */
export function sample(logits: Float32Array, { temperature = 0, topP = 1, random }: Sampling): number {
  if (!(temperature >= 0)) throw new RangeError(`temperature must be 0 or more, got ${temperature}`);
  if (!(topP > 0 && topP <= 1)) throw new RangeError(`topP must be in (0, 1], got ${topP}`);
  if (temperature === 0) return argmax(logits);
  if (!random) throw new Error("sampling at a temperature needs a random source");

  const max = logits[argmax(logits)]!;
  const weights = Float64Array.from(logits, (x) => Math.exp((x - max) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  const order = Array.from(weights.keys()).sort((a, b) => weights[b]! - weights[a]! || a - b);
  let nucleus = 0;
  let mass = 0;
  while (nucleus < order.length && mass < topP * total) mass += weights[order[nucleus++]!]!;
  let at = random() * mass;
  for (const id of order.slice(0, nucleus)) {
    at -= weights[id]!;
    if (at < 0) return id;
  }
  return order[nucleus - 1]!;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
