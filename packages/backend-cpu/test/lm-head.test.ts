import { createCpuBackend } from "@slayer/backend-cpu";
import { type Backend, createReferenceBackend, Graph, Program, Store } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { isas, missing, note } from "./support/addon.js";

async function lossAndGradients(
  backend: Backend,
  [N, V, D]: readonly [number, number, number],
): Promise<Float64Array[]> {
  const graph = new Graph();
  const values = (count: number, seed: number) =>
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7 + seed));
  const [dnll, h, w] = [
    graph.input("dnll", [N], "f32"),
    graph.input("h", [N, D], "f32"),
    graph.input("w", [V, D], "f32"),
  ];
  const operands = [dnll, h, w, graph.input("targets", [N], "i32")];
  const attrs = { hidden: true, weight: true };
  const [nll, dh, dw] = graph.apply("lm_head_loss_with_gradient", operands, attrs);
  const program = await Program.compile(graph, { nll: nll!, dh: dh!, dw: dw! }, new Store(backend));
  const targets = Int32Array.from({ length: N }, (_, i) => (i % 5 === 4 ? -100 : (i * 7919) % V));
  await program.run({ dnll: values(N, 1), h: values(N * D, 2), w: values(V * D, 3), targets });
  return Promise.all(["nll", "dh", "dw"].map(async (name) => Float64Array.from(await program.read(name))));
}

describe.skipIf(missing !== undefined)(`the LM head's loss with its gradient${note}`, () => {
  it.each([
    ["two slabs of rows, many tiles of the vocabulary, tasks by columns", [260, 33_000, 3]],
    ["tasks by rows, the last shorter", [601, 1000, 50]],
  ] as const)(
    "%s: nll, dh, dW within 2e-5 of the f64 reference's largest: f32 sums over the vocabulary",
    async (_, sizes) => {
      const expected = await lossAndGradients(createReferenceBackend(), sizes);
      for (const isa of isas) {
        const backend = await createCpuBackend({ isa, threads: 2 });
        const got = await lossAndGradients(backend, sizes);
        await backend.close();
        expected.forEach((wanted, i) => {
          const largest = wanted.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
          const off = wanted.reduce((m, x, j) => Math.max(m, Math.abs(x - got[i]![j]!)), 0);
          expect(off / largest).toBeLessThanOrEqual(2e-5);
        });
      }
    },
  );

  it("has a loss where all logits of a tile of the vocabulary are −∞, others not: that of the others, to 1e-6 (f32)", async () => {
    const [V, D] = [800, 2]; // a tile is 768 words
    const graph = new Graph();
    const [h, w] = [graph.input("h", [1, D], "f32"), graph.input("w", [V, D], "f32")];
    const targets = graph.input("targets", [1], "i32");
    const [dnll, attrs] = [graph.input("dnll", [1], "f32"), { hidden: false, weight: true }];
    const alone = graph.apply("lm_head_loss", [h, w, targets])[0]!;
    const [nll] = graph.apply("lm_head_loss_with_gradient", [dnll, h, w, targets], attrs);
    for (const isa of isas) {
      const backend = await createCpuBackend({ isa, threads: 2 });
      const program = await Program.compile(graph, { alone, nll: nll! }, new Store(backend));
      const weights = new Float32Array(V * D).fill(-2).fill(0, 768 * D);
      await program.run({
        dnll: Float32Array.of(1),
        h: Float32Array.of(3e38, 3e38),
        w: weights,
        targets: Int32Array.of(768),
      });
      for (const name of ["alone", "nll"]) expect((await program.read(name))[0]).toBeCloseTo(Math.log(32), 6);
      await backend.close();
    }
  });
});
