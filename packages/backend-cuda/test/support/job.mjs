// A program of its own: sums long plans with the built backend until something ends it.
//
//   node job.mjs end        one run, then nothing: Node should exit by itself, although nobody closes the backend
//   node job.mjs exit       process.exit(7) in the middle of a run
//   node job.mjs signal     runs until a signal kills it
//   node job.mjs worker     a worker thread that is terminated in the middle of a run
import { isMainThread, Worker } from "node:worker_threads";
import { accumulate, fill, Graph, Program, Store } from "@slayer/tensor";
import { createCudaBackend } from "../../dist/index.js";

const mode = isMainThread ? process.argv[2] : "loop";

async function compile(steps) {
  const backend = await createCudaBackend();
  const graph = new Graph();
  const state = graph.state("state", [4096]);
  const one = fill(state, [4096], 1);
  for (let i = 0; i < steps; i++) accumulate(state, one);
  const store = new Store(backend);
  store.add({ name: "state", shape: [4096], dtype: "f32" });
  return Program.compile(graph, {}, store);
}

async function loop() {
  const program = await compile(5000);
  for (;;) {
    const run = program.run();
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
} else if (mode === "worker") {
  const worker = new Worker(new URL(import.meta.url), { stdout: true });
  await new Promise((resolve) => worker.stdout.once("data", resolve));
  await worker.terminate();
  console.log("terminated");
}
