#!/usr/bin/env node
/**
 * GEMM against OpenBLAS and PyTorch, every shape asked of each in turn, round after round, so that a busy moment of the machine
 * falls on all of them. See README.md. Started by run.sh.
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { processor, slug } from "../../machine.mjs";
import { isaTable, mainTable, peakRate } from "./tables.mjs";
import { linearLayers, requests } from "./shapes.mjs";
import { startWorker } from "./workers.mjs";

const { values: options } = parseArgs({
  options: {
    worker: { type: "string" },
    python: { type: "string" },
    openblas: { type: "string" },
    coretypes: { type: "string", default: "SkylakeX,Zen" },
    isas: { type: "string", default: "avx512,avx2,portable" },
    threads: { type: "string", default: "1,2" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "0.1" },
    only: { type: "string", default: "" },
    out: { type: "string" },
  },
});
const { worker } = options;
if (!worker) throw new Error("--worker is missing: start this through run.sh");
const isas = options.isas.split(",");
const rounds = Number(options.rounds);

/** @param {number} threads */
function startAll(threads) {
  const ours = isas.map((isa) => startWorker(isa, [worker, isa, `${threads}`], { threads }));
  const blas = options.openblas
    ? options.coretypes.split(",").map((core) =>
        startWorker(`OpenBLAS ${core}`, [worker, "openblas", `${threads}`, options.openblas ?? ""], {
          threads,
          env: { OPENBLAS_CORETYPE: core },
        }),
      )
    : [];
  const script = new URL("./torch_worker.py", import.meta.url).pathname;
  const torch = options.python ? [startWorker("PyTorch", [options.python, script, `${threads}`], { threads })] : [];
  return { ours, peers: [...blas, ...torch] };
}

/** Threads that a library lets spin after its work must be asleep before the next one is timed. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 30));

/** @type {{ threads: number, isa: string, peak: number[] }[]} */
const peaks = [];
/** @type {import("./tables.mjs").Measurement[]} */
const measurements = [];
let versions = "";
/** @type {string[]} */
const loads = [];

for (const threads of options.threads.split(",").map(Number)) {
  loads.push(`${loadavg()[1]?.toFixed(1)} before ${threads}`);
  const { ours, peers } = startAll(threads);
  const best = /** @type {import("./workers.mjs").Worker} */ (ours[0]);
  for (const worker of ours) peaks.push({ threads, isa: worker.name, peak: [] });
  const wanted = requests(linearLayers).filter((r) => `${r.layout} ${r.m} ${r.n} ${r.k}`.includes(options.only));
  for (const r of wanted) {
    const line = `${r.layout} ${r.m} ${r.n} ${r.k} ${options.seconds}`;
    const cube = r.m === 1024 && r.n === 1024 && r.k === 1024;
    const asked = [best, ...peers, ...(cube ? ours.slice(1) : [])];
    /** @type {Map<string, number[][]>} */
    const samples = new Map(asked.map((worker) => [worker.name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const worker of ours) {
        if (worker !== best && !cube) continue;
        const peak = peaks.find((p) => p.threads === threads && p.isa === worker.name);
        peak?.peak.push(...(await worker.ask("peak 0.05")));
      }
      for (let i = 0; i < asked.length; i++) {
        const worker = /** @type {import("./workers.mjs").Worker} */ (asked[(i + round) % asked.length]);
        await settle();
        samples.get(worker.name)?.push(await worker.ask(line));
      }
    }
    for (const [name, seconds] of samples) measurements.push({ ...r, threads, name, seconds });
    console.error(`${threads} thread(s): ${line}`);
  }
  versions = peers.map((worker) => worker.version()).join("; ");
  for (const worker of [...ours, ...peers]) worker.close();
}

const report = [
  `# GEMM, f32: this project beside OpenBLAS and PyTorch`,
  "",
  `- machine: ${processor()}, ${cpus().length} cores`,
  `- date: ${new Date().toISOString().slice(0, 10)}`,
  `- peers: ${versions}`,
  `- command: \`bench/peers/gemm/run.sh\`, ${rounds} rounds of ${options.seconds} s per shape and library, interleaved`,
  `- clock: processor time with one thread, wall time with more; load average of the machine: ${loads.join(", ")} thread(s)`,
  "",
  mainTable(measurements, peaks, /** @type {string} */ (isas[0])),
  isaTable(measurements, peaks),
].join("\n");
console.log(report);

if (options.out) {
  mkdirSync(options.out, { recursive: true });
  const path = `${options.out}/peers-gemm-${slug(processor())}`;
  save(`${path}.md`, `${report}\n`);
  const summary = {
    machine: processor(),
    date: new Date().toISOString(),
    versions,
    loads,
    rounds,
    seconds: Number(options.seconds),
  };
  save(
    `${path}.json`,
    `${JSON.stringify({ ...summary, peaks: peaks.map(summarisePeak), measurements: measurements.map(summarise) }, null, 1)}\n`,
  );
}

/** @param {{ threads: number, isa: string, peak: number[] }} p */
function summarisePeak(p) {
  return { threads: p.threads, isa: p.isa, gflops: peakRate(p) };
}

/** @param {import("./tables.mjs").Measurement} m */
function summarise({ seconds, ...rest }) {
  return {
    ...rest,
    medianSecondsPerRound: seconds.map((round) => round.toSorted((a, b) => a - b)[round.length >> 1]),
    bestSeconds: Math.min(...seconds.flat()),
  };
}

/**
 * @param {string} path
 * @param {string} text
 */
function save(path, text) {
  writeFileSync(`${path}.part`, text);
  renameSync(`${path}.part`, path);
}
