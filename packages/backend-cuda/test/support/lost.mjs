// A kernel that fails, and what works afterwards: prints per attempt the error's type and message, or "works". The environment says which
// launch it is.
import { accumulate, createReferenceBackend, DeviceLostError, fill, Graph, Program, Store } from "@slayer/tensor";
import { createCudaBackend } from "../../dist/index.js";

const backend = await createCudaBackend();
const compile = async (on, steps) => {
  const graph = new Graph();
  const count = graph.state("count", [1]);
  const one = fill(count, [1], 1);
  for (let i = 1; i < steps; i++) accumulate(count, one);
  const store = new Store(on);
  store.add({ name: "count", shape: [1], dtype: "f32" });
  return { store, program: await Program.compile(graph, {}, store) };
};
const outcomes = {};
const attempt = async (name, action) => {
  try {
    await action();
    outcomes[name] = "works";
  } catch (error) {
    outcomes[name] = `${error instanceof DeviceLostError ? "DeviceLostError" : error.name}: ${error.message}`;
  }
};

const { store, program } = await compile(backend, Number(process.argv[2]));
const buffer = backend.allocate(16);
const run = program.run();
await attempt("allocate meanwhile", () => {
  for (let i = 0; i < 1e6; i++) backend.free(backend.allocate(16));
});
await attempt("run", () => run);
await attempt("run again", () => program.run());
await attempt("read", () => store.read("count"));
await attempt("write", () => store.write("count", Float32Array.of(1)));
await attempt("allocate", () => backend.allocate(16));
await attempt("prepare", () => program.part(program.plan.steps));
await attempt("free", () => backend.free(buffer));
await attempt("another backend", () => createCudaBackend());
await attempt("close", () => backend.close());
await attempt("other kinds of backends", async () => {
  const other = await compile(createReferenceBackend(), 4);
  await other.program.run();
  if ((await other.store.read("count"))[0] !== 3) throw new Error("wrong");
});
console.log(JSON.stringify(outcomes));
