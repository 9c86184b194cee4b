import { join } from "node:path";
import {
  CheckpointWriter,
  encodeFromF32,
  expectedTensors,
  parseConfig,
  withOutputDirectory,
  writeFileAtomic,
} from "@slayer/checkpoint";
import { Pcg32, type TokenizerFiles, writeTokenizer } from "@slayer/data";

/** config.json of the quickstart's base model: Llama in small, eight blocks so that there are halves to speak of. */
export function baseConfig(
  size: { hiddenSize: number; intermediateSize: number },
  vocabSize: number,
  eosTokenId: number,
): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocabSize,
    hidden_size: size.hiddenSize,
    intermediate_size: size.intermediateSize,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
    bos_token_id: null,
    eos_token_id: eosTokenId,
    initializer_range: 0.04,
    torch_dtype: "float32",
  };
}

/**
 * Writes a randomly initialised checkpoint as Transformers would: matrices normal with `initializer_range`, norms 1. The two
 * matrices that write into the residual stream are smaller by √(2L) (GPT-2), so that depth does not blow it up.
 */
export async function writeRandomModel(
  dir: string,
  rawConfig: Record<string, unknown>,
  tokenizer: TokenizerFiles,
  seed: number,
): Promise<void> {
  const config = parseConfig(rawConfig, join(dir, "config.json"));
  const specs = [...expectedTensors(config)].map(([name, shape]) => ({ name, shape, dtype: "F32" as const }));
  await withOutputDirectory(dir, { overwrite: true }, async (partial) => {
    const writer = await CheckpointWriter.create(partial, specs);
    const random = new Pcg32(seed, 0);
    for (const { name, shape } of specs) {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      if (shape.length === 1) {
        values.fill(1);
      } else {
        const intoResidual = name.endsWith("o_proj.weight") || name.endsWith("down_proj.weight");
        const deviation = config.initializerRange / (intoResidual ? Math.sqrt(2 * config.blocks) : 1);
        for (let i = 0; i < values.length; i++) values[i] = deviation * normal(random);
      }
      await writer.write(name, encodeFromF32(values, "F32"));
    }
    await writer.finish();
    await writeFileAtomic(join(partial, "config.json"), `${JSON.stringify(rawConfig, null, 2)}\n`);
    await writeTokenizer(partial, tokenizer);
  });
}

/** Box and Muller 1958. */
function normal(random: Pcg32): number {
  return Math.sqrt(-2 * Math.log(1 - uniform(random))) * Math.cos(2 * Math.PI * uniform(random));
}

/** In [0, 1). */
function uniform(random: Pcg32): number {
  return random.next() / 2 ** 32;
}
