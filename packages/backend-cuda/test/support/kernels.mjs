// Runs products and attention in bf16 once, so that a profiler hears which kernels take them. Arguments are head sizes.
import { Graph, matmul, Program, Store, swiglu } from "@slayer/tensor";
import { createCudaBackend } from "../../dist/index.js";

const backend = await createCudaBackend();
const store = new Store(backend);
const graph = new Graph();
const zeros = (...shape) => {
  const name = `zeros ${store.bytes}`;
  store.add({ name, shape, dtype: "bf16" });
  return graph.parameter(name, shape, "bf16");
};
const x = zeros(512, 64);
const product = (rows) => matmul(x, zeros(rows, 64), { transposeB: true });
const outputs = { product: product(256), swiglu: swiglu(product(128), product(128)) };
for (const E of process.argv.slice(2).map(Number)) {
  const attrs = { heads: 1, kvHeads: 1, scale: E ** -0.5, window: 0, segments: false, offset: false };
  const q = zeros(1, 64, E);
  const [o, lse] = graph.apply("attention", [q, q, q], attrs);
  graph.apply("attention_backward", [q, q, q, q, o, lse], attrs).forEach((d, i) => (outputs[`${E} ${i}`] = d));
}
const program = await Program.compile(graph, outputs, store);
await program.run();
await backend.close();
console.log("done");
