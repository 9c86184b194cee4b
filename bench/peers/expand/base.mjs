// Random checkpoints of Llama-2's proportions.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  CheckpointWriter,
  encodeFromF32,
  expectedTensors,
  parseConfig,
} from "../../../packages/checkpoint/dist/index.js";

const dtypeNames = { BF16: "bfloat16", F16: "float16", F32: "float32" };

/**
 * Random numbers from -2 to 2, of widely different sizes; the same megabytes again and again, from different places.
 * Returns the bytes of tensor data.
 */
export async function writeRandomBase(dir, { hidden, blocks, dtype = "BF16" }) {
  const json = {
    model_type: "llama",
    vocab_size: 32_000,
    hidden_size: hidden,
    intermediate_size: Math.ceil((hidden * 2.6875) / 32) * 32,
    num_hidden_layers: blocks,
    num_attention_heads: Math.max(1, hidden / 128),
    tie_word_embeddings: false,
    torch_dtype: dtypeNames[dtype],
  };
  await mkdir(dir);
  await writeFile(join(dir, "config.json"), JSON.stringify(json));
  const shapes = [...expectedTensors(parseConfig(json, "config.json"))];
  const specs = shapes.map(([name, shape]) => ({ name, dtype, shape }));
  const number = () => (Math.random() - 0.5) * 4 * 2 ** -Math.floor(Math.random() * 12);
  const random = encodeFromF32(Float32Array.from({ length: 2 ** 22 }, number), dtype);
  const size = random.length / 2 ** 22;
  const writer = await CheckpointWriter.create(dir, specs);
  let total = 0;
  for (const { name, shape } of specs) {
    let left = size * shape.reduce((product, n) => product * n, 1);
    total += left;
    while (left > 0) {
      const begin = size * Math.floor(Math.random() * 2 ** 21);
      const piece = random.subarray(begin, begin + Math.min(left, random.length / 2));
      await writer.write(name, piece);
      left -= piece.length;
    }
  }
  await writer.finish();
  return total;
}
