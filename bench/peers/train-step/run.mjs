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
import { createReferenceBackend } from "../../../packages/tensor/dist/index.js";
import { LR, openOurs, SIZES, writeInputs } from "./ours.mjs";

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
const ROUND = 5;

const work = await mkdtemp(join(tmpdir(), "slayer-peer-"));
try {
  const batches = await writeInputs(work, size);
  const ours = await openOurs(await openBackend(), work, batches, size, values.trainable?.split(","));
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
