// Logits of a model directory as Slayer computes them (reference executor, f32), for compare.py:
//
//   node tools/oracle/dump-logits.mjs MODEL OUT_DIR [--batch 2] [--length 16]
//
// writes OUT_DIR/model.safetensors with "input_ids" i32 [B, T] (pseudo-random) and "logits" f32 [B, T, V].
// Needs the built packages (pnpm build).
import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { Checkpoint, CheckpointWriter } from "../../packages/checkpoint/dist/index.js";
import { forward, forwardInputs, loadWeights } from "../../packages/model/dist/index.js";
import { createReferenceBackend, Graph, matmul, Program, Store } from "../../packages/tensor/dist/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { batch: { type: "string", default: "2" }, length: { type: "string", default: "16" } },
});
const [model, out] = positionals;
if (!model || !out) throw new Error("usage: dump-logits.mjs MODEL OUT_DIR");
const shape = { batch: Number(values.batch), length: Number(values.length) };

const checkpoint = await Checkpoint.open(model);
const { config } = checkpoint;
const store = new Store(createReferenceBackend());
await loadWeights(checkpoint, store);
const graph = new Graph();
const { final, head } = forward(graph, config, shape);
const program = await Program.compile(graph, { logits: matmul(final, head, { transposeB: true }) }, store);
const ids = Int32Array.from({ length: shape.batch * shape.length }, (_, i) => (i * 7919 + 13) % config.vocabSize);
await program.run(forwardInputs(config, ids, shape));
const logits = await program.read("logits");

await mkdir(out, { recursive: true });
/** @param {{ buffer: ArrayBufferLike, byteOffset: number, byteLength: number }} array */
const bytes = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const writer = await CheckpointWriter.create(out, [
  { name: "input_ids", dtype: "I32", shape: [shape.batch, shape.length] },
  { name: "logits", dtype: "F32", shape: [shape.batch, shape.length, config.vocabSize] },
]);
await writer.write("input_ids", bytes(ids));
await writer.write("logits", bytes(logits));
await writer.finish();
await checkpoint.close();
