import { type Backend, Graph, matmul, Program, Store } from "@slayer/tensor";

const REPEATS = 3;

/** Best of a few: C = A·Bᵀ with 256 × 256 matrices of numbers that are not zero; 2·256³ FLOPs. */
export async function measureGemm(backend: Backend, signal: AbortSignal): Promise<number> {
  const n = 256;
  const graph = new Graph();
  const [a, b] = [graph.input("a", [n, n], "f32"), graph.input("b", [n, n], "f32")];
  const program = await Program.compile(graph, { c: matmul(a, b, { transposeB: true }) }, new Store(backend));
  const values = Float32Array.from({ length: n * n }, (_, i) => Math.sin(i));
  await program.run({ a: values, b: values }, signal);
  let best = Infinity;
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now();
    await program.run({}, signal);
    best = Math.min(best, performance.now() - start);
  }
  program.free();
  return (2 * n ** 3) / (best * 1e6);
}

/** Best of a few writes of 32 MiB into the backend's memory. */
export async function measureCopy(backend: Backend): Promise<number> {
  const data = new Float32Array(8 * 2 ** 20).fill(1);
  const buffer = backend.allocate(data.byteLength);
  let best = Infinity;
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now();
    await backend.write(buffer, 0, data);
    best = Math.min(best, performance.now() - start);
  }
  backend.free(buffer);
  return data.byteLength / (best * 1e6);
}
