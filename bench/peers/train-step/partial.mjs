// A training step with some blocks trainable beside the same step with all of them: time against what the FLOPs of the two plans
// predict, and resident memory against what the plan says.
//
//   node bench/peers/train-step/partial.mjs [--size small|large] [--trainable 2,6] [--threads 2] [--rounds 8] [--out FILE]
//
// Steps of both take turns in one process. Memory is that of a process of its own, by /proc (Linux): the peak while steps run, less
// what Node and the addon had before anything was allocated. Needs the built packages and the addon.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { createCpuBackend } from "../../../packages/backend-cpu/dist/index.js";
import { processor } from "../../machine.mjs";
import { openOurs, SIZES, writeInputs } from "./ours.mjs";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "small" },
    trainable: { type: "string", default: "2,6" },
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "8" },
    out: { type: "string" },
    memory: { type: "boolean", default: false }, // the process of its own
  },
});
const size = SIZES[values.size];
const threads = Number(values.threads);
const blocks = values.trainable.split(",");
const work = await mkdtemp(join(tmpdir(), "slayer-partial-"));
try {
  const batches = await writeInputs(work, size);
  if (values.memory) console.log(JSON.stringify(await memory(batches)));
  else await compare(batches);
} finally {
  await rm(work, { recursive: true, force: true });
}

async function compare(batches) {
  const full = await openOurs(await createCpuBackend({ threads }), work, batches, size);
  const partial = await openOurs(await createCpuBackend({ threads }), work, batches, size, blocks);
  const seconds = { full: [], partial: [] };
  for (const step of [full, partial]) await step.run(2);
  for (let round = 0; round < Number(values.rounds); round++) {
    seconds.full.push(...(await full.run(3)).seconds);
    seconds.partial.push(...(await partial.run(3)).seconds);
  }
  const median = (x) => x.toSorted((a, b) => a - b)[x.length >> 1];
  const [timeRatio, flopRatio] = [median(seconds.partial) / median(seconds.full), partial.cost.flops / full.cost.flops];
  await Promise.all([full.close(), partial.close()]);
  const { execPath, argv } = process;
  const { stdout } = await promisify(execFile)(execPath, ["--expose-gc", ...argv.slice(1), "--memory"]);
  const document = {
    date: new Date().toISOString().slice(0, 10),
    machine: `${processor()}, ${cpus().length} cores, Node ${process.version}`,
    command: `node ${["bench/peers/train-step/partial.mjs", ...argv.slice(2)].join(" ")}`,
    size,
    trainable: blocks,
    threads,
    seconds: { full: median(seconds.full), partial: median(seconds.partial) },
    time_ratio: timeRatio,
    flop_ratio: flopRatio,
    time_over_prediction: timeRatio / flopRatio,
    memory: JSON.parse(stdout),
  };
  const text = `${JSON.stringify(document, null, 2)}\n`;
  process.stdout.write(text);
  if (values.out) await writeFile(values.out, text);
}

/** Bytes: planned, and resident at the peak of five steps beyond what there was before. */
async function memory(batches) {
  const backend = await createCpuBackend({ threads });
  globalThis.gc();
  const before = await status("VmRSS");
  const step = await openOurs(backend, work, batches, size, blocks);
  globalThis.gc();
  await writeFile("/proc/self/clear_refs", "5"); // the peak counts from here
  await step.run(5);
  const peak = (await status("VmHWM")) - before;
  await step.close();
  return { planned: step.bytes, resident: peak, beyond: peak - step.bytes };
}

async function status(name) {
  return 1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(await readFile("/proc/self/status", "utf8"))[1]);
}
