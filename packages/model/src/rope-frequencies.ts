import type { ModelConfig, RopeConfig } from "@slayer/checkpoint";

/**
 * Angular frequencies [E/2] of rotary position embedding for a sequence of `length` tokens, as Transformers computes
 * them (modeling_rope_utils): default θ^(−2i/E); linear (Chen et al. 2023); dynamic NTK, which depends on the length;
 * llama3 (Llama 3.1). None of these scales attention.
 */
export function ropeFrequencies(config: ModelConfig, length: number): Float64Array {
  const { rope, headDim } = config;
  switch (rope.type) {
    case "default":
      return powers(rope.theta, headDim);
    case "linear":
      return powers(rope.theta, headDim).map((f) => f / required(rope, "factor"));
    case "dynamic":
      return powers(dynamicTheta(config, length), headDim);
    case "llama3":
      return powers(rope.theta, headDim).map((f) => llama3(f, rope));
    default:
      return rope.type satisfies never;
  }
}

function powers(theta: number, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
}

/** NTK-aware scaling: θ grows once the sequence is longer than the model was trained for. */
function dynamicTheta({ rope, headDim, maxPositionEmbeddings }: ModelConfig, length: number): number {
  const factor = required(rope, "factor");
  const trained = rope.originalMaxPositionEmbeddings ?? maxPositionEmbeddings;
  if (length <= trained) return rope.theta;
  return rope.theta * ((factor * length) / trained - (factor - 1)) ** (headDim / (headDim - 2));
}

/** Long wavelengths are divided by `factor`, short ones kept, with a linear ramp between. */
function llama3(frequency: number, rope: RopeConfig): number {
  const factor = required(rope, "factor");
  const low = required(rope, "lowFreqFactor");
  const high = required(rope, "highFreqFactor");
  const trained = required(rope, "originalMaxPositionEmbeddings");
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < trained / high) return frequency;
  if (wavelength > trained / low) return frequency / factor;
  const smooth = (trained / wavelength - low) / (high - low);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

function required(
  rope: RopeConfig,
  key: "factor" | "lowFreqFactor" | "highFreqFactor" | "originalMaxPositionEmbeddings",
) {
  const value = rope[key];
  if (value === undefined) throw new Error(`rope type ${rope.type} needs ${key}`);
  return value;
}
