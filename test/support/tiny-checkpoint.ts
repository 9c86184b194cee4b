import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CheckpointWriter, encodeFromF32, expectedTensors, parseConfig } from "@slayer/checkpoint";

const tokenizers = fileURLToPath(new URL("../../packages/data/test/fixtures/", import.meta.url));

export interface TinyOptions {
  /** L. Default 4. */
  readonly blocks?: number;
  /** D, a multiple of 4 (two heads of an even size). Default 16. */
  readonly hiddenSize?: number;
  /** Default 1. */
  readonly seed?: number;
  readonly dtype?: "F32" | "BF16";
  /** Weights are uniform in ±spread, norms in 1 ± spread. Default 0.2. With 0 every logit is 0. */
  readonly spread?: number;
  /** A folder of packages/data/test/fixtures whose tokenizer comes along, or null for none. Default "llama2-metaspace". */
  readonly tokenizer?: string | null;
  /** Rows of the embedding. Default 648, a little more than the tokenizers have. */
  readonly vocabSize?: number;
}

/**
 * Writes a small random Llama checkpoint in Hugging Face layout into `dir` (made when it is not there). The same
 * options give the same bytes.
 */
export async function writeTinyCheckpoint(dir: string, options: TinyOptions = {}): Promise<void> {
  const {
    blocks = 4,
    hiddenSize = 16,
    seed = 1,
    dtype = "F32",
    spread = 0.2,
    tokenizer = "llama2-metaspace",
  } = options;
  const json = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: options.vocabSize ?? 648,
    hidden_size: hiddenSize,
    intermediate_size: 2 * hiddenSize,
    num_hidden_layers: blocks,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: dtype === "F32" ? "float32" : "bfloat16",
  };
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "config.json"), `${JSON.stringify(json, null, 2)}\n`);
  const specs = [...expectedTensors(parseConfig(json, "config.json"))].map(([name, shape]) => ({ name, shape, dtype }));
  const writer = await CheckpointWriter.create(dir, specs);
  const uniform = generator(seed);
  for (const { name, shape } of specs) {
    const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
    const center = name.endsWith("norm.weight") ? 1 : 0;
    for (let i = 0; i < values.length; i++) values[i] = center + 2 * spread * (uniform() - 0.5);
    await writer.write(name, encodeFromF32(values, dtype));
  }
  await writer.finish();
  if (tokenizer === null) return;
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await copyFile(join(tokenizers, tokenizer, file), join(dir, file));
  }
}

/** Uniform in [0, 1): mulberry32 (Tommy Ettinger). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
