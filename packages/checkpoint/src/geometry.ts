import type { ModelConfig } from "./config.js";
import { CheckpointError } from "./errors.js";
import { blockName } from "./names.js";

/** Weights of one block: suffix -> shape, in the order of Transformers' modules. Linear weights are (out, in). */
export function blockTensors(config: ModelConfig): Map<string, number[]> {
  const { hiddenSize: D, intermediateSize: F } = config;
  const q = config.heads * config.headDim;
  const kv = config.kvHeads * config.headDim;
  const shapes = new Map<string, number[]>();
  const linear = (name: string, outSize: number, inSize: number, bias: boolean): void => {
    shapes.set(`${name}.weight`, [outSize, inSize]);
    if (bias) shapes.set(`${name}.bias`, [outSize]);
  };
  linear("self_attn.q_proj", q, D, config.attentionBias);
  linear("self_attn.k_proj", kv, D, config.attentionBias);
  linear("self_attn.v_proj", kv, D, config.attentionBias);
  linear("self_attn.o_proj", D, q, config.attentionBias);
  linear("mlp.gate_proj", F, D, config.mlpBias);
  linear("mlp.up_proj", F, D, config.mlpBias);
  linear("mlp.down_proj", D, F, config.mlpBias);
  shapes.set("input_layernorm.weight", [D]);
  shapes.set("post_attention_layernorm.weight", [D]);
  return shapes;
}

/**
 * Every tensor that a checkpoint of this model must hold: Hugging Face name -> shape. `lm_head.weight` is among them
 * only when it is not tied to the embedding.
 */
export function expectedTensors(config: ModelConfig): Map<string, number[]> {
  const { vocabSize: V, hiddenSize: D } = config;
  const shapes = new Map<string, number[]>([["model.embed_tokens.weight", [V, D]]]);
  const block = blockTensors(config);
  for (let i = 0; i < config.blocks; i++) {
    for (const [suffix, shape] of block) shapes.set(blockName(i, suffix), shape);
  }
  shapes.set("model.norm.weight", [D]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [V, D]);
  return shapes;
}

/** Numbers of parameters (elements, biases included). */
export interface ParameterCount {
  /** All distinct parameters; a tied vocabulary matrix counts once. */
  readonly total: number;
  /** One block. */
  readonly block: number;
  /** V · D: the embedding, and, where it is not tied, the head. */
  readonly vocabularyMatrix: number;
  /** 1 when tied, else 2. */
  readonly vocabularyMatrices: 1 | 2;
  readonly finalNorm: number;
}

/**
 * Count parameters from the config alone.
 * @throws CheckpointError "size-overflow" when there are more than 2^53
 */
export function parameterCount(config: ModelConfig, file = "config.json"): ParameterCount {
  let block = 0;
  for (const shape of blockTensors(config).values()) block += shape.reduce((product, n) => product * n, 1);
  const vocabularyMatrix = config.vocabSize * config.hiddenSize;
  const vocabularyMatrices = config.tieWordEmbeddings ? 1 : 2;
  const finalNorm = config.hiddenSize;
  const total = config.blocks * block + vocabularyMatrices * vocabularyMatrix + finalNorm;
  // All terms are positive, so a total within the exact integers means that every step before it was exact too.
  if (!Number.isSafeInteger(total)) {
    throw new CheckpointError(
      "size-overflow",
      file,
      `the sizes give ${total} parameters, beyond 2^53; are they right?`,
    );
  }
  return { total, block, vocabularyMatrix, vocabularyMatrices, finalNorm };
}
