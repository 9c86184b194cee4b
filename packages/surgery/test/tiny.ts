import type { ModelConfig } from "@slayer/checkpoint";
import { parseConfig } from "@slayer/checkpoint";

/** A small Llama's config.json with changes, as Transformers 4 writes it. */
export function tinyJson(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 20,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
    torch_dtype: "float32",
    ...changes,
  };
}

export function tinyConfig(changes: Record<string, unknown> = {}): ModelConfig {
  return parseConfig(tinyJson(changes), "config.json");
}
