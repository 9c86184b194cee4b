import { createCudaBackend } from "@slayer/backend-cuda";
import { add, type Backend, Graph, matmul, Program, Store, type Tensor, type TuningStore } from "@slayer/tensor";
import { afterEach, describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";
import { memory, product } from "./support/tuning.js";

// Without the library beside the host's driver, see blas.test.ts.
if (missing === undefined) Object.assign(process.env, hostEnvironment(), { SLAYER_CUBLASLT: "" });

const open: Backend[] = [];
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.close();
});
async function create(tuning: TuningStore) {
  open.push(await createCudaBackend({ tuning }));
  return open.at(-1)!;
}

describe.skipIf(missing !== undefined)(`the tuner, on the host's executor${note}`, () => {
  it("measures each class of products once, takes the quicker way, and keeps it by device, driver and kernels", async () => {
    const { store, saved } = memory();
    const backend = await create(store);
    // Four tiles of 128 × 256: enough for the device's multiprocessors, so that there is a choice; of one row each, so that the
    // executor computes as much either way, and of 16 columns, where the wide tile computes twice as much.
    const y = await product(backend, 512, 32);
    await product(backend, 512, 32);
    await product(backend, 520, 40); // of the same class
    expect(saved.map(({ text }) => JSON.parse(text) as unknown)).toEqual([
      { "NT 512×32×64 bf16": expect.stringMatching(/^(narrow|wide)$/) },
    ]);
    expect(saved[0]!.key).toMatch(
      /^cuda, host executor \(compute capability 8.0\), driver 13000, kernels [0-9a-f]{16}$/,
    );
    const again = memory(saved[0]!.text);
    expect(await product(await create(again.store), 512, 32)).toEqual(y);
    expect(again.saved).toEqual([]);
  });

  it("tiles by turns (persistent) give the very bits of tiles in blocks of their own, in every layout, with and without addend", async () => {
    const [m, n, k] = [264, 520, 200]; // 9 wide tiles for 4 multiprocessors, 4 steps each
    const results = [];
    for (const way of ["wide", "persistent"]) {
      const names = ["NN", "NT", "TN", "TT"].flatMap((layout) =>
        ["bf16", "f32"].map((type) => `${layout} 256×512×256 ${type}`),
      );
      const { store, saved } = memory(JSON.stringify(Object.fromEntries(names.map((name) => [name, way]))));
      const backend = await create(store);
      const graph = new Graph();
      const outputs: Record<string, Tensor> = {};
      for (const transposeA of [false, true]) {
        for (const transposeB of [false, true]) {
          const a = graph.input(`a ${transposeA} ${transposeB}`, transposeA ? [k, m] : [m, k], "bf16");
          const b = graph.input(`b ${transposeA} ${transposeB}`, transposeB ? [n, k] : [k, n], "bf16");
          const y = matmul(a, b, { transposeA, transposeB, f32: transposeA });
          outputs[y.id] = transposeA ? y : add(matmul(a, b, { transposeA, transposeB }), y); // the second takes the first as its addend
        }
      }
      const program = await Program.compile(graph, outputs, new Store(backend));
      const values = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 0.37));
      const inputs = Object.entries(program.plan.inputs).map(
        ([name, { shape }]) => [name, values(shape[0]! * shape[1]!)] as const,
      );
      await program.run(Object.fromEntries(inputs));
      results.push(await Promise.all(Object.keys(outputs).map((name) => program.read(name))));
      expect(saved).toEqual([]);
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[0]![0]!.some((x) => Math.abs(x) > 1)).toBe(true);
  });

  it("text that it does not understand, and ways that do not exist, are measured again", async () => {
    for (const text of ["{", "7", '{"NT 512×32×64 bf16": 3}']) {
      const { store, saved } = memory(text);
      await product(await create(store), 512, 32);
      expect(saved.length).toBe(1);
    }
    const other = memory('{"NT 512×32×64 bf16": "of another version"}');
    const wanted = await product(await create(memory().store), 512, 32);
    expect(await product(await create(other.store), 512, 32)).toEqual(wanted);
  });
});
