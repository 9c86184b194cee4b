// A program of its own: sums long plans with the built backend until something ends it.
//
//   node job.mjs end        one run, then nothing: Node should exit by itself, although nobody closes the backend
//   node job.mjs exit       process.exit(7) in the middle of a run
//   node job.mjs signal     runs until a signal kills it
//   node job.mjs handler    runs until SIGINT, aborts the run, closes and exits with 130
//   node job.mjs worker     a worker thread that is terminated in the middle of a run
//   node job.mjs count      12,000 short runs; prints memory and threads after 2,000 and after all of them
import { readFileSync } from "node:fs";
import { isMainThread, Worker } from "node:worker_threads";
import { accumulate, fill, Graph, Program, Store } from "@slayer/tensor";
import { createCpuBackend } from "../../dist/index.js";

const mode = isMainThread ? process.argv[2] : "loop";
const backend = await createCpuBackend({ threads: 3 });

async function compile(steps) {
  const graph = new Graph();
  const state = graph.state("state", [65_536]);
  const one = fill(state, [65_536], 1);
  for (let i = 0; i < steps; i++) accumulate(state, one);
  const store = new Store(backend);
  store.add({ name: "state", shape: [65_536], dtype: "f32" });
  return Program.compile(graph, {}, store);
}

function resources() {
  const status = readFileSync("/proc/self/status", "utf8");
  const number = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1]);
  return { rssKiB: number("VmRSS"), threads: number("Threads") };
}

async function loop(signal) {
  const program = await compile(20_000);
  for (;;) {
    const run = program.run({}, signal);
    console.log("running");
    await run;
  }
}

if (mode === "end") {
  await (await compile(100)).run();
  console.log("done");
} else if (mode === "exit") {
  setTimeout(() => process.exit(7), 20);
  await loop();
} else if (mode === "signal" || mode === "loop") {
  await loop();
} else if (mode === "handler") {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort(new Error("interrupted")));
  await loop(controller.signal).catch((error) => console.log(error.message));
  await backend.close();
  process.exitCode = 130;
} else if (mode === "worker") {
  const worker = new Worker(new URL(import.meta.url), { stdout: true });
  await new Promise((resolve) => worker.stdout.once("data", resolve));
  await worker.terminate();
  console.log("terminated");
} else if (mode === "count") {
  const program = await compile(3);
  for (let i = 0; i < 2000; i++) await program.run();
  globalThis.gc();
  const before = resources();
  for (let i = 0; i < 10_000; i++) await program.run();
  globalThis.gc();
  console.log(JSON.stringify({ before, after: resources() }));
}
