import { createWebgpuBackend } from "@slayer/backend-webgpu";
import {
  add,
  attention,
  type Backend,
  BackendError,
  embedding,
  fill,
  Graph,
  matmul,
  Program,
  Store,
  sum,
} from "@slayer/tensor";
import { afterEach, describe, expect, it } from "vitest";
import { missing, note, openAdapter } from "./support/adapter.js";

const open: Backend[] = [];
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.close();
});

async function opened(...[options]: Parameters<typeof createWebgpuBackend>): Promise<Backend> {
  const backend = await createWebgpuBackend(options);
  open.push(backend);
  return backend;
}

describe.skipIf(missing !== undefined)(`the WebGPU backend${note}`, () => {
  it("reads an operand that is given twice, and another twice: x + x and X·X, exactly", async () => {
    const backend = await opened();
    const graph = new Graph();
    const x = graph.input("x", [2, 2], "f32");
    const program = await Program.compile(graph, { twice: add(x, x), square: matmul(x, x) }, new Store(backend));
    await program.run({ x: Float32Array.of(1, 2, 3, 4) });
    expect([...(await program.read("twice"))]).toEqual([2, 4, 6, 8]);
    expect([...(await program.read("square"))]).toEqual([7, 10, 15, 22]);
  });

  it("writes and reads ranges of any length, odd ones of bf16 too, and leaves their neighbours alone", async () => {
    const backend = await opened();
    const buffer = backend.allocate(64);
    await backend.write(buffer, 0, new Uint8Array(64).fill(7));
    await backend.write(buffer, 4, new Uint16Array([1, 2, 3]));
    const bytes = new Uint8Array(64).fill(7);
    bytes.set([1, 0, 2, 0, 3, 0], 4);
    expect(await backend.read(buffer, 0, 64)).toEqual(bytes);
    expect(await backend.read(buffer, 4, 6)).toEqual(bytes.slice(4, 10));
    await expect(backend.read(buffer, 60, 8)).rejects.toThrow(/8 bytes at 60 of a buffer of 64:/);
    await expect(backend.write(buffer, 2, new Uint8Array(4))).rejects.toThrow(/multiples of 4/);
  });

  it("says at plan time, with op and sizes, that an operand cannot be bound even in panels", async () => {
    const backend = await opened({ limits: { bindingBytes: 4096 } });
    const graph = new Graph();
    const q = graph.input("q", [1, 512, 8], "f32");
    const o = attention(q, q, q, { heads: 1, kvHeads: 1, scale: 1 });
    await expect(Program.compile(graph, { o }, new Store(backend))).rejects.toThrow(
      /webgpu cannot run attention: attention would need 16384 bytes in one binding; this device binds up to 4096/,
    );
  });

  it("refuses a buffer beyond the adapter's limit at once", async () => {
    const backend = await opened();
    expect(() => backend.allocate(2 ** 45)).toThrow(/one buffer of 35184372088832 bytes is beyond the adapter's limit/);
  });

  it("reports memory that the device refuses with the plan's figures", async () => {
    const { adapter, device } = await openAdapter();
    const backend = await opened({ adapter });
    const createBuffer = device().createBuffer.bind(device());
    // Beyond 1 MiB the device is asked for more than it can have.
    device().createBuffer = (descriptor) =>
      createBuffer(descriptor.size > 2 ** 20 ? { ...descriptor, size: 2 ** 45 } : descriptor);
    const graph = new Graph();
    const total = sum(fill(graph.input("x", [1], "f32"), [2 ** 20], 1));
    const compiled = Program.compile(graph, { total }, new Store(backend));
    await expect(compiled).rejects.toThrow(BackendError);
    await expect(compiled).rejects.toThrow(
      /no memory for the plan: it needs 4194\d+ bytes, of them 4194\d+ for intermediates, 256 for inputs/,
    );
  });

  it("turns what WebGPU finds wrong in a run into an error that names steps and ops, and goes on", async () => {
    const backend = await opened();
    const graph = new Graph();
    const x = graph.parameter("x", [4, 4]);
    const y = add(matmul(x, x), fill(x, [4, 4], 1));
    const store = new Store(backend);
    store.add({ name: "x", shape: [4, 4], dtype: "f32" });
    const program = await Program.compile(graph, { y }, store);
    await program.run();
    store.free(); // the plan still runs over it
    await expect(program.run()).rejects.toThrow(BackendError);
    await expect(program.run()).rejects.toThrow(/webgpu: steps 0 to 2 \(matmul, fill, add\): .*destroyed/);
    const fresh = new Store(backend);
    fresh.add({ name: "x", shape: [4, 4], dtype: "f32" });
    const again = await Program.compile(graph, { y }, fresh);
    await again.run();
    expect([...(await again.read("y"))]).toEqual(Array.from({ length: 16 }, () => 1));
  });

  it("an id outside the vocabulary makes NaN", async () => {
    const backend = await opened();
    const graph = new Graph();
    const y = embedding(graph.parameter("table", [3, 2]), graph.input("ids", [3], "i32"));
    const store = new Store(backend);
    store.add({ name: "table", shape: [3, 2], dtype: "f32" });
    await store.write("table", Float32Array.of(1, 2, 3, 4, 5, 6));
    const program = await Program.compile(graph, { y }, store);
    await program.run({ ids: Int32Array.of(2, 3, -1) });
    expect([...(await program.read("y"))]).toEqual([5, 6, NaN, NaN, NaN, NaN]);
  });

  it("stops between batches when it is aborted, and can run again", async () => {
    const backend = await opened();
    const graph = new Graph();
    let x = graph.input("x", [512, 512], "f32");
    const a = x;
    for (let i = 0; i < 8; i++) x = matmul(x, a);
    const program = await Program.compile(graph, { x }, new Store(backend));
    const controller = new AbortController();
    const run = program.run({ x: new Float32Array(512 * 512) }, controller.signal);
    controller.abort(new Error("enough"));
    await expect(run).rejects.toThrow("enough");
    await program.run();
    expect((await program.read("x"))[0]).toBe(0);
  });

  it("measures the variants of a product once, keeps the outcome, and takes it over from there (1e-5)", async () => {
    const kept = new Map<string, string>();
    let saved = 0;
    const tuning = {
      load: async (key: string) => kept.get(key),
      save: async (key: string, text: string) => {
        kept.set(key, text);
        saved++;
      },
    };
    const n = 24;
    const values = Float32Array.from({ length: n * n }, (_, i) => Math.sin(i));
    for (const expectedSaves of [1, 1]) {
      const backend = await opened({ tuning, kernels: "gpu" });
      const graph = new Graph();
      const x = graph.input("x", [n, n], "f32");
      const program = await Program.compile(
        graph,
        { y: matmul(x, graph.input("b", [n, n], "f32")) },
        new Store(backend),
      );
      await program.run({ x: values, b: values });
      const y = await program.read("y");
      const expected = values.slice(0, n).reduce((sum, a, k) => sum + a * values[k * n]!, 0);
      expect(Math.abs(y[0]! - expected)).toBeLessThanOrEqual(1e-5);
      expect(saved).toBe(expectedSaves);
    }
    const [key, text] = [...kept][0]!;
    expect(key).toMatch(/ [0-9a-f]{8}$/); // adapter, driver, hash of the shaders
    expect(Object.keys(JSON.parse(text))).toEqual(["NN 32×32×32 f32·f32"]);
    expect(["tiled4", "rows"]).toContain(Object.values(JSON.parse(text))[0]);
  });

  it("takes no variant that computes wrongly here, and says so where all of them do", async () => {
    const compile = async (broken: RegExp) => {
      const { adapter, device } = await openAdapter();
      let kept = "";
      const tuning = {
        load: async () => undefined,
        save: async (_: string, text: string) => {
          kept = text;
        },
      };
      const backend = await opened({ adapter, tuning, kernels: "gpu" });
      const createShaderModule = device().createShaderModule.bind(device());
      device().createShaderModule = ({ label, code }) =>
        createShaderModule({ code: broken.test(label!) ? code.replace("c[at] = ", "c[at] = 1.0 + ") : code });
      const graph = new Graph();
      const x = graph.input("x", [24, 24], "f32");
      await Program.compile(graph, { y: matmul(x, x) }, new Store(backend));
      return Object.values(JSON.parse(kept));
    };
    expect(await compile(/^matmul_rows /)).toEqual(["tiled4"]);
    await expect(compile(/^matmul/)).rejects.toThrow(/computes products wrongly, NN 32×32×32 f32·f32, in every way/);
  });

  it("with `half`, variants that round to f16 are measured too, apart from the others", async () => {
    const keys: string[] = [];
    const tuning = {
      load: async (key: string) => {
        keys.push(key);
        return undefined;
      },
      save: async () => {},
    };
    for (const half of [false, true]) await opened({ tuning, kernels: "gpu", half });
    const [without, wanted] = keys;
    const { features } = (await openAdapter()).adapter;
    expect(wanted !== without).toBe(features.has("shader-f16"));
  });

  it("says where the time goes, by kernel, if it is asked to measure", async () => {
    const backend = await createWebgpuBackend({ profile: true });
    open.push(backend);
    const graph = new Graph();
    const x = graph.input("x", [256, 256], "f32");
    const y = add(matmul(x, graph.input("b", [256, 256], "f32")), x);
    const program = await Program.compile(graph, { y }, new Store(backend));
    await program.run({ x: new Float32Array(256 * 256) });
    await program.run();
    const times = backend.kernelTimes();
    expect(Object.fromEntries(times.map(({ kernel, dispatches }) => [kernel, dispatches]))).toEqual({
      add: 2,
      matmul_rows: 2,
    });
    expect(times[0]!.seconds).toBeGreaterThanOrEqual(times[1]!.seconds);
    expect(times[1]!.seconds).toBeGreaterThan(0);
  });

  it("is closed for good", async () => {
    const backend = await opened();
    const buffer = backend.allocate(16);
    await backend.close();
    expect(() => backend.allocate(16)).toThrow(/the backend is closed/);
    await expect(backend.read(buffer, 0, 16)).rejects.toThrow(/the backend is closed/);
  });
});
