// A small model and texts to train it on, for the drill.
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CheckpointWriter, encodeFromF32, expectedTensors, parseConfig } from "../../packages/checkpoint/dist/index.js";

const tokenizer = fileURLToPath(new URL("../../packages/data/test/fixtures/llama2-metaspace/", import.meta.url));
const WORDS = "the block learns what a shallow layer holds and forgets nothing new".split(" ");

/**
 * @param {string} dir the model's directory
 * @param {string} texts a .jsonl file
 * @param {() => number} random uniform in [0, 1)
 */
export async function writeModel(dir, texts, random) {
  const raw = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 648,
    hidden_size: 64,
    intermediate_size: 160,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    torch_dtype: "float32",
  };
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "config.json"), JSON.stringify(raw));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(tokenizer, file), join(dir, file));
  const specs = [...expectedTensors(parseConfig(raw, "config.json"))].map(([name, shape]) => ({
    name,
    shape,
    dtype: /** @type {const} */ ("F32"),
  }));
  const writer = await CheckpointWriter.create(dir, specs);
  for (const { name, shape } of specs) {
    const norm = name.endsWith("norm.weight");
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
      norm ? 1 : 0.1 * (2 * random() - 1),
    );
    await writer.write(name, encodeFromF32(values, "F32"));
  }
  await writer.finish();
  const text = () => Array.from({ length: 40 }, () => WORDS[Math.floor(random() * WORDS.length)]).join(" ");
  writeFileSync(texts, Array.from({ length: 200 }, () => `${JSON.stringify({ text: text() })}\n`).join(""));
}
