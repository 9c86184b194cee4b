// The step as this project runs it, and the random checkpoint and batches that both sides start from.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  Checkpoint,
  CheckpointWriter,
  encodeFromF32,
  expectedTensors,
  parseConfig,
} from "../../../packages/checkpoint/dist/index.js";
import { forward, forwardInputs, loadWeights } from "../../../packages/model/dist/index.js";
import { accumulateGradients, AdamW } from "../../../packages/optim/dist/index.js";
import { Graph, lmHeadLoss, planCost, Program, Store, sum } from "../../../packages/tensor/dist/index.js";

export const SIZES = {
  small: { vocab: 4096, d: 256, blocks: 8, heads: 8, kvHeads: 4, ffn: 688, length: 256, batch: 4 },
  large: { vocab: 4096, d: 512, blocks: 12, heads: 8, kvHeads: 4, ffn: 1376, length: 512, batch: 2 },
};
export const LR = 1e-3;

/** Writes a checkpoint and batches of tokens into `dir`; returns the batches. */
export async function writeInputs(dir, size) {
  const raw = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: size.vocab,
    hidden_size: size.d,
    intermediate_size: size.ffn,
    num_hidden_layers: size.blocks,
    num_attention_heads: size.heads,
    num_key_value_heads: size.kvHeads,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    torch_dtype: "float32",
  };
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const specs = [...expectedTensors(parseConfig(raw, "config.json"))].map(([name, shape]) => ({
    name,
    shape,
    dtype: "F32",
  }));
  await writeFile(join(dir, "config.json"), JSON.stringify(raw));
  const writer = await CheckpointWriter.create(dir, specs);
  for (const { name, shape } of specs) {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < values.length; i++) values[i] = shape.length === 1 ? 1 : 0.02 * normal();
    await writer.write(name, encodeFromF32(values, "F32"));
  }
  await writer.finish();
  const count = 8;
  const ids = Int32Array.from({ length: count * size.batch * size.length }, () =>
    Math.floor(size.vocab * uniform() ** 3),
  );
  await mkdir(join(dir, "batches"));
  const file = await CheckpointWriter.create(join(dir, "batches"), [
    { name: "input_ids", dtype: "I32", shape: [count, size.batch, size.length] },
  ]);
  await file.write("input_ids", new Uint8Array(ids.buffer));
  await file.finish();
  const n = size.batch * size.length;
  return Array.from({ length: count }, (_, i) => ids.slice(i * n, (i + 1) * n));
}

/** A step on `backend`, all blocks or those of `blocks` being trained. `cost` is that of forward and backward. */
export async function openOurs(backend, dir, batches, size, blocks) {
  const checkpoint = await Checkpoint.open(dir);
  const { config } = checkpoint;
  const trainable = [...expectedTensors(config)]
    .map(([name, shape]) => ({ name, shape, dtype: "f32" }))
    .filter(({ name }) => !blocks || blocks.some((l) => name.startsWith(`model.layers.${l}.`)));
  const store = new Store(backend);
  const optimizer = await AdamW.create(store, trainable, { betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1, clip: 1 });
  await loadWeights(checkpoint, store);
  await checkpoint.close();
  const shape = { batch: size.batch, length: size.length };
  const graph = new Graph();
  const { final, head } = forward(graph, config, shape);
  const loss = sum(lmHeadLoss(final, head, graph.input("targets", [size.batch, size.length], "i32")));
  accumulateGradients(loss, trainable);
  const program = await Program.compile(graph, { loss }, store);
  const scored = size.batch * (size.length - 1);
  let step = 0;
  return {
    backend,
    cost: planCost(program.plan),
    bytes: store.bytes + program.plan.arenaBytes + program.plan.inputBytes,
    async run(n) {
      const seconds = [];
      const losses = [];
      for (let i = 0; i < n; i++) {
        const ids = batches[step % batches.length];
        const start = performance.now();
        const targets = ids.map((_, j) => ((j + 1) % size.length === 0 ? -100 : ids[j + 1]));
        await program.run({ ...forwardInputs(config, ids, shape), targets });
        losses.push((await program.read("loss"))[0] / scored);
        await optimizer.step(step, LR, 1 / scored);
        seconds.push((performance.now() - start) / 1000);
        step++;
      }
      return { seconds, losses };
    },
    close: () => backend.close(),
  };
}
