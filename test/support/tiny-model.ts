import { join } from "node:path";
import {
  CheckpointWriter,
  encodeFromF32,
  expectedTensors,
  parseConfig,
  withOutputDirectory,
  writeFileAtomic,
} from "@slayer/checkpoint";
import { Pcg32, trainBpe, writeTokenizer } from "@slayer/data";

/** Words with some structure, so that there is something to learn. */
export function tinyTexts(count: number, seed: number): string[] {
  const random = new Pcg32(seed, 7);
  const words = [
    "the",
    "block",
    "learns",
    "what",
    "a",
    "shallow",
    "layer",
    "holds",
    "and",
    "forgets",
    "nothing",
    "new",
  ];
  return Array.from({ length: count }, () =>
    Array.from({ length: 20 + random.below(30) }, () => words[random.below(words.length)]!).join(" "),
  );
}

/** Writes a random Llama with a byte-level tokenizer of 300 ids: 16 wide, F32, `blocks` deep. */
export async function writeTinyModel(dir: string, blocks: number, seed = 1, changes: object = {}): Promise<void> {
  const tokenizer = trainBpe(tinyTexts(50, 1), { vocabSize: 300, bosToken: null });
  const raw = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 304,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: blocks,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    eos_token_id: 0,
    torch_dtype: "float32",
    ...changes,
  };
  const config = parseConfig(raw, join(dir, "config.json"));
  const specs = [...expectedTensors(config)].map(([name, shape]) => ({ name, shape, dtype: "F32" as const }));
  await withOutputDirectory(dir, { overwrite: true }, async (partial) => {
    const writer = await CheckpointWriter.create(partial, specs);
    const random = new Pcg32(seed, 3);
    for (const { name, shape } of specs) {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      const around = shape.length === 1 ? 1 : 0;
      for (let i = 0; i < values.length; i++) values[i] = around + (random.next() / 2 ** 32 - 0.5) * 0.4;
      await writer.write(name, encodeFromF32(values, "F32"));
    }
    await writer.finish();
    await writeFileAtomic(join(partial, "config.json"), `${JSON.stringify(raw, null, 2)}\n`);
    await writeTokenizer(partial, tokenizer);
  });
}
