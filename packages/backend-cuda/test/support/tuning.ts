import { type Backend, Graph, matmul, Program, Store, type TuningStore } from "@slayer/tensor";

/** A store that remembers what it was asked, and begins with what somebody measured before. */
export function memory(before?: string) {
  const saved: { key: string; text: string }[] = [];
  const store: TuningStore = {
    load: async () => before,
    save: async (key, text) => void saved.push({ key, text }),
  };
  return { store, saved };
}

/** y = x·wᵀ on the tensor cores, m × n over 64. */
export async function product(backend: Backend, m: number, n: number) {
  const graph = new Graph();
  const y = matmul(graph.input("x", [m, 64], "bf16"), graph.parameter("w", [n, 64], "bf16"), { transposeB: true });
  const store = new Store(backend);
  store.add({ name: "w", shape: [n, 64], dtype: "bf16" });
  await store.write(
    "w",
    Float32Array.from({ length: n * 64 }, (_, i) => (i % 7) - 3),
  );
  const program = await Program.compile(graph, { y }, store);
  await program.run({ x: Float32Array.from({ length: m * 64 }, (_, i) => (i % 5) - 2) });
  return program.read("y");
}
