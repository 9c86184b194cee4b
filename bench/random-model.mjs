// A random checkpoint of some geometry, with a tokenizer trained on a text.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointWriter, encodeFromF32, expectedTensors, parseConfig } from "../packages/checkpoint/dist/index.js";
import { trainBpe, writeTokenizer } from "../packages/data/dist/index.js";

/** config.json of a Llama with that many dimensions. */
export function llamaJson({ vocab = 4096, d, blocks, heads, kvHeads, ffn }) {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocab,
    hidden_size: d,
    intermediate_size: ffn,
    num_hidden_layers: blocks,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    torch_dtype: "float32",
  };
}

/** Writes it into a folder that exists: norms 1, matrices uniform in ±0.035. */
export async function writeRandomModel(dir, json, text) {
  await writeFile(join(dir, "config.json"), JSON.stringify(json));
  await writeTokenizer(dir, trainBpe([text.slice(0, 2 ** 19)], { vocabSize: json.vocab_size }));
  const specs = [...expectedTensors(parseConfig(json, "config.json"))].map(([name, shape]) => ({
    name,
    shape,
    dtype: "F32",
  }));
  const writer = await CheckpointWriter.create(dir, specs);
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (const { name, shape } of specs) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) data[i] = shape.length === 1 ? 1 : 0.07 * (uniform() - 0.5);
    await writer.write(name, encodeFromF32(data, "F32"));
  }
  await writer.finish();
}
