// One training step (forward, backward, clip, AdamW; f32) in Slayer and in PyTorch + Transformers, taking turns.
//
//   node bench/peers/train-step/run.mjs --python PYTHON [--backend cpu] [--threads 2] [--steps 50] [--size small|large] [--out FILE]
//
// Both start from the same random checkpoint and see the same batches of random tokens; the losses must agree. Tokens per second
// are of the median step. Needs the built packages (pnpm build) and a Python with torch and transformers.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { processor } from "../../machine.mjs";
import {
  Checkpoint,
  CheckpointWriter,
  encodeFromF32,
  expectedTensors,
  parseConfig,
} from "../../../packages/checkpoint/dist/index.js";
import { forward, forwardInputs, loadWeights } from "../../../packages/model/dist/index.js";
import { accumulateGradients, AdamW } from "../../../packages/optim/dist/index.js";
import {
  createReferenceBackend,
  Graph,
  lmHeadLoss,
  planCost,
  Program,
  Store,
  sum,
} from "../../../packages/tensor/dist/index.js";

const SIZES = {
  small: { vocab: 4096, d: 256, blocks: 8, heads: 8, kvHeads: 4, ffn: 688, length: 256, batch: 4 },
  large: { vocab: 4096, d: 512, blocks: 12, heads: 8, kvHeads: 4, ffn: 1376, length: 512, batch: 2 },
};
const { values } = parseArgs({
  options: {
    python: { type: "string" },
    backend: { type: "string", default: "cpu" },
    threads: { type: "string", default: "2" },
    steps: { type: "string", default: "50" },
    size: { type: "string", default: "small" },
    trainable: { type: "string" }, // block indices, comma-separated; all if absent
    out: { type: "string" },
  },
});
const size = SIZES[values.size];
if (!size) throw new Error(`--size must be one of ${Object.keys(SIZES).join(", ")}`);
const threads = Number(values.threads);
const steps = Number(values.steps);
const LR = 1e-3;
const ROUND = 5;

const work = await mkdtemp(join(tmpdir(), "slayer-peer-"));
try {
  const batches = await writeInputs(work);
  const ours = await openOurs(work, batches);
  const peer = values.python ? await openTorch(work) : null;
  const results = { slayer: { seconds: [], losses: [] }, torch: { seconds: [], losses: [] } };
  for (let done = 0; done < steps; done += ROUND) {
    const n = Math.min(ROUND, steps - done);
    append(results.slayer, await ours.run(n));
    if (peer) append(results.torch, await peer.run(n));
  }
  await report(results, ours, peer);
  peer?.close();
  await ours.close();
} finally {
  await rm(work, { recursive: true, force: true });
}

function append(to, { seconds, losses }) {
  to.seconds.push(...seconds);
  to.losses.push(...losses);
}

async function writeInputs(dir) {
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

async function openOurs(dir, batches) {
  const backend = await openBackend();
  const checkpoint = await Checkpoint.open(dir);
  const { config } = checkpoint;
  const blocks = values.trainable?.split(",");
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

async function openBackend() {
  if (values.backend === "reference") return createReferenceBackend();
  const { createCpuBackend } = await import("../../../packages/backend-cpu/dist/index.js");
  return createCpuBackend({ threads });
}

async function openTorch(dir) {
  const script = fileURLToPath(new URL("./torch_step.py", import.meta.url));
  const args = [
    script,
    dir,
    join(dir, "batches", "model.safetensors"),
    "--threads",
    String(threads),
    "--lr",
    String(LR),
  ];
  if (values.trainable) args.push("--trainable", ...values.trainable.split(","));
  const child = spawn(values.python, args, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, OMP_NUM_THREADS: String(threads) },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const version = (await lines.next()).value;
  if (!version) throw new Error("the PyTorch side did not start");
  return {
    version,
    async run(n) {
      child.stdin.write(`${n}\n`);
      return JSON.parse((await lines.next()).value);
    },
    close: () => child.stdin.end(),
  };
}

async function report(results, ours, peer) {
  const tokens = size.batch * size.length;
  const summary = {};
  for (const [name, { seconds }] of Object.entries(results)) {
    if (seconds.length === 0) continue;
    // The first steps warm caches and allocators up.
    const sorted = seconds.slice(3).toSorted((a, b) => a - b);
    const at = (q) => sorted[Math.floor(q * (sorted.length - 1))];
    summary[name] = { tokens_per_second: tokens / at(0.5), spread: [tokens / at(0.75), tokens / at(0.25)] };
  }
  const document = {
    date: new Date().toISOString().slice(0, 10),
    machine: `${processor()}, ${cpus().length} cores, Node ${process.version}`,
    command: `node bench/peers/train-step/run.mjs ${process.argv
      .slice(2)
      .filter((a, i, all) => a !== "--python" && all[i - 1] !== "--python")
      .join(" ")}`,
    backend: ours.backend.capabilities.device,
    peer: peer?.version,
    size,
    threads,
    steps,
    ...summary,
    slayer_gflops: (ours.cost.modelFlops * summary.slayer.tokens_per_second) / tokens / 1e9,
  };
  if (peer) {
    document.ratio = summary.slayer.tokens_per_second / summary.torch.tokens_per_second;
    document.largest_loss_difference = Math.max(
      ...results.slayer.losses.map((loss, i) => Math.abs(loss / results.torch.losses[i] - 1)),
    );
  }
  const text = `${JSON.stringify(document, null, 2)}\n`;
  process.stdout.write(text);
  if (values.out) {
    await mkdir(dirname(values.out), { recursive: true });
    await writeFile(values.out, text);
  }
}
