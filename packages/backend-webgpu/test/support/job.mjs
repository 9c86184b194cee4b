// A program of its own on the built backend.
//
//   node job.mjs end        one run, then nothing: Node should exit by itself, although nobody closes the backend
//   node job.mjs close      one run, the backend closed: the same
//   node job.mjs throw      an exception between two runs
//   node job.mjs signal     runs until a signal kills it
//   node job.mjs handler    runs until SIGINT, aborts the run, closes and exits with 130
//   node job.mjs count      5,000 runs, then 10,000 more; prints resident memory after either
import { readFileSync } from "node:fs";
import { accumulate, fill, Graph, Program, Store } from "@slayer/tensor";
import { createWebgpuBackend } from "../../dist/index.js";

const mode = process.argv[2];
const backend = await createWebgpuBackend();

async function compile(steps) {
  const elements = 1024;
  const graph = new Graph();
  const state = graph.state("state", [elements]);
  const one = fill(state, [elements], 1);
  for (let i = 0; i < steps; i++) accumulate(state, one);
  const store = new Store(backend);
  store.add({ name: "state", shape: [elements], dtype: "f32" });
  return Program.compile(graph, {}, store);
}

function residentKiB() {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
}

async function loop(signal) {
  const program = await compile(500);
  for (;;) {
    const run = program.run({}, signal);
    console.log("running");
    await run;
  }
}

if (mode === "end" || mode === "close") {
  await (await compile(10)).run();
  if (mode === "close") await backend.close();
  console.log("done");
} else if (mode === "throw") {
  await (await compile(10)).run();
  throw new Error("on purpose");
} else if (mode === "signal") {
  await loop();
} else if (mode === "handler") {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort(new Error("interrupted")));
  await loop(controller.signal).catch((error) => console.log(error.message));
  await backend.close();
  process.exitCode = 130;
} else if (mode === "count") {
  const program = await compile(3);
  for (let i = 0; i < 5000; i++) await program.run();
  globalThis.gc();
  const before = residentKiB();
  for (let i = 0; i < 10_000; i++) await program.run();
  globalThis.gc();
  console.log(JSON.stringify({ before, after: residentKiB() }));
}
