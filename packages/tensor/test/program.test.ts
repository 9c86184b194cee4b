import {
  add,
  attention,
  BackendError,
  cacheWrite,
  createReferenceBackend,
  embedding,
  Graph,
  lmHeadLoss,
  matmul,
  Program,
  Store,
  sum,
  type Tensor,
  type TypedArray,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { compile } from "./helpers.js";

const f32 = (...values: number[]) => Float32Array.from(values);
const newStore = () => new Store(createReferenceBackend());

/** y = x + w, on two elements. */
function sumGraph(): { graph: Graph; y: Tensor } {
  const graph = new Graph();
  return { graph, y: add(graph.input("x", [2], "f32"), graph.parameter("w", [2])) };
}

describe("Graph", () => {
  it("refuses a second tensor of one name, whatever its role", () => {
    const g = new Graph();
    g.parameter("w", [2]);
    expect(() => g.input("w", [2], "f32")).toThrow("the graph already has a tensor named 'w'");
  });

  it.each([[[2, 0]], [[-1]], [[1.5]], [[NaN]], [[2 ** 53]]])("refuses extents %j", (shape) => {
    expect(() => new Graph().parameter("w", shape)).toThrow(
      `'w': extents must be positive integers, got [${shape.join(",")}]`,
    );
  });

  it("refuses operands of another graph, by name or number", () => {
    const [g, other] = [new Graph(), new Graph()];
    const [a, b] = [g.parameter("a", [2, 2]), other.parameter("b", [2, 2])];
    expect(() => add(a, b)).toThrow("add: operand 'b' belongs to another graph");
    expect(() => add(a, add(b, b))).toThrow("add: operand '#1' belongs to another graph");
  });

  it("gives nodes the scope they were recorded in, also after an error", () => {
    const g = new Graph();
    const a = g.parameter("a", [2, 2]);
    g.inScope("outer", () => {
      expect(() => g.inScope("inner", () => add(a, g.parameter("b", [3])))).toThrow(/wanted two operands/);
      add(a, a);
    });
    add(a, a);
    expect(g.nodes.map((n) => n.scope)).toEqual(["outer", null]);
  });
});

describe("Store", () => {
  it("holds zeroed tensors until they are written", async () => {
    const store = newStore();
    store.add({ name: "w", shape: [3], dtype: "f32" });
    expect(await store.read("w")).toEqual(f32(0, 0, 0));
    await store.write("w", f32(1, 2, 3));
    expect(await store.read("w")).toEqual(f32(1, 2, 3));
    expect(store.names).toEqual(["w"]);
    expect(store.type("w")).toMatchObject({ shape: [3], dtype: "f32" });
  });

  it("lays a range out on aligned offsets, and shows all of it under the flat name", async () => {
    const store = newStore();
    const length = store.addRange(
      [
        { name: "a", shape: [3], dtype: "f32" },
        { name: "b", shape: [65], dtype: "f32" },
        { name: "c", shape: [1], dtype: "f32" },
      ],
      "all",
    );
    expect([length, store.bytes]).toEqual([384, 1536]); // 128 each
    await store.write("b", new Float32Array(65).fill(2));
    await store.write("c", f32(3));
    const all = await store.read("all");
    expect(all[127]).toBe(0);
    expect([...all.slice(128, 193)]).toEqual(Array(65).fill(2));
    expect([...all.slice(193, 257)]).toEqual([...Array(63).fill(0), 3]);
  });

  it("refuses a second tensor of one name", () => {
    const store = newStore();
    store.add({ name: "w", shape: [1], dtype: "f32" });
    expect(() => store.add({ name: "w", shape: [1], dtype: "f32" })).toThrow(
      "the store already has a tensor named 'w'",
    );
  });

  it("says which tensor it does not have", async () => {
    const store = newStore();
    expect(() => store.type("w")).toThrow("the store has no tensor named 'w'");
    await expect(store.read("w")).rejects.toThrow("the store has no tensor named 'w'");
    await expect(store.write("w", f32(1))).rejects.toThrow("the store has no tensor named 'w'");
  });

  it("refuses values of another size", async () => {
    const store = newStore();
    store.add({ name: "w", shape: [2, 2], dtype: "f32" });
    await expect(store.write("w", f32(1, 2))).rejects.toThrow("'w' is f32[2,2], got Float32Array(2)");
  });

  it("is empty once freed", () => {
    const store = newStore();
    store.add({ name: "w", shape: [1], dtype: "f32" });
    store.free();
    expect([store.has("w"), store.bytes, store.names]).toEqual([false, 0, []]);
  });
});

describe("Program.compile", () => {
  it("says which tensor is in no store, and which has another type", async () => {
    const { graph, y } = sumGraph();
    await expect(Program.compile(graph, { y }, newStore())).rejects.toThrow("the store has no tensor named 'w'");
    const store = newStore();
    store.add({ name: "w", shape: [1, 2], dtype: "f32" });
    await expect(Program.compile(graph, { y }, store)).rejects.toThrow(
      "'w' is f32[1,2] in the store, but the plan expects f32[2]",
    );
  });

  it("takes each tensor from the first store that has it", async () => {
    const backend = createReferenceBackend();
    const stores = [1, 2].map(() => new Store(backend));
    const g = new Graph();
    const y = add(g.parameter("both", [1]), g.parameter("second", [1]));
    stores[0]!.add({ name: "both", shape: [1], dtype: "f32" });
    for (const name of ["both", "second"]) stores[1]!.add({ name, shape: [1], dtype: "f32" });
    await stores[0]!.write("both", f32(10));
    await stores[1]!.write("both", f32(20));
    await stores[1]!.write("second", f32(1));
    const program = await Program.compile(g, { y }, stores);
    await program.run();
    expect(await program.read("y")).toEqual(f32(11));
  });

  it("asks the backend for every kernel before it allocates, and passes on its words", async () => {
    const { graph, y } = sumGraph();
    const backend = {
      ...createReferenceBackend(),
      name: "small",
      supports: () => "no addition here",
      allocate: () => {
        throw new Error("allocated too early");
      },
    };
    const compiled = Program.compile(graph, { y }, new Store(backend));
    await expect(compiled).rejects.toThrow(BackendError);
    await expect(compiled).rejects.toThrow("backend small cannot run add: no addition here");
  });
});

describe("Program.run", () => {
  it("keeps inputs that are not given again", async () => {
    const { graph, y } = sumGraph();
    const { program, store } = await compile(graph, { y }, { w: f32(1, 1) });
    await program.run({ x: f32(5, 6) });
    await store.write("w", f32(2, 2));
    await program.run();
    expect(await program.read("y")).toEqual(f32(7, 8));
  });

  const badInputs: [string, Record<string, TypedArray>, string][] = [
    ["an unknown name", { z: f32(1, 2) }, "the plan has no input 'z'; it has x"],
    ["too few values", { x: f32(1) }, "input 'x' is f32[2], got Float32Array(1)"],
    ["another type of array", { x: Float64Array.of(1, 2) }, "input 'x' is f32[2], got Float64Array(2)"],
    ["integers for floats", { x: Int32Array.of(1, 2) }, "input 'x' is f32[2], got Int32Array(2)"],
  ];
  it.each(badInputs)("refuses %s", async (_, inputs, message) => {
    const { graph, y } = sumGraph();
    const { program } = await compile(graph, { y }, {});
    await expect(program.run(inputs)).rejects.toThrow(message);
  });

  it("read names the outputs there are", async () => {
    const { graph, y } = sumGraph();
    const { program } = await compile(graph, { y }, {});
    await expect(program.read("loss")).rejects.toThrow("the plan has no output 'loss'; it has y");
  });

  it("does not start once aborted", async () => {
    const { graph, y } = sumGraph();
    const { program } = await compile(graph, { y }, { w: f32(1, 1) });
    await expect(program.run({ x: f32(1, 1) }, AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
    expect(await program.read("y")).toEqual(f32(0, 0));
  });

  it("stops between steps when aborted by a timer meanwhile: a long plan lets timers run", async () => {
    const g = new Graph();
    const w = g.parameter("w", [256, 256]);
    let y: Tensor = matmul(w, w);
    for (let i = 0; i < 100; i++) y = matmul(y, w);
    const last = sum(y);
    const { program } = await compile(g, { last }, { w: new Float32Array(256 ** 2).fill(1 / 256) });
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("stopped by the timer")), 0);
    await expect(program.run({}, controller.signal)).rejects.toThrow("stopped by the timer");
    expect(await program.read("last")).not.toEqual(f32(256)); // Σ of 65536 times 1/256: the last step was not reached
  });

  it("short runs, one after another, let timers run too", async () => {
    const { graph, y } = sumGraph();
    const { program } = await compile(graph, { y }, { w: f32(1, 1) });
    const timer = new AbortController();
    setTimeout(() => timer.abort(), 0);
    const end = performance.now() + 2000; // without a pause it takes longer
    while (!timer.signal.aborted && performance.now() < end) await program.run({ x: f32(1, 1) });
    expect(timer.signal.aborted).toBe(true);
  });
});

describe("values that lead outside a tensor are errors", () => {
  const i32 = (...values: number[]) => Int32Array.from(values);

  it.each([-1, 3])("embedding: id %d of 3", async (id) => {
    const g = new Graph();
    const y = embedding(g.parameter("table", [3, 2]), g.input("ids", [2], "i32"));
    const { program } = await compile(g, { y }, {});
    await expect(program.run({ ids: i32(0, id) })).rejects.toThrow(`embedding: id ${id} at position 1 is outside 0..2`);
  });

  it.each([-1, -99, 3])("lm_head_loss: target %d of 3", async (target) => {
    const g = new Graph();
    const nll = lmHeadLoss(g.parameter("h", [2, 4]), g.parameter("w", [3, 4]), g.input("targets", [2], "i32"));
    const { program } = await compile(g, { nll }, {});
    const run = program.run({ targets: i32(-100, target) });
    await expect(run).rejects.toThrow(`lm_head_loss: target ${target} at position 1 is outside 0..2`);
  });

  it.each([-1, 3])("attention: two rows at offset %d of a cache of 4", async (offset) => {
    const g = new Graph();
    const [q, cache] = [g.parameter("q", [1, 2, 4]), g.state("cache", [1, 4, 4])];
    const at = g.input("offset", [1], "i32");
    const y = attention(q, cache, cache, { heads: 1, kvHeads: 1, scale: 1, offset: at });
    const { program } = await compile(g, { y }, {});
    const run = program.run({ offset: i32(offset) });
    await expect(run).rejects.toThrow(`attention: rows at ${offset}..${offset + 1}, keys 0..3`);
  });

  it("attention takes segments or an offset, not both", () => {
    const g = new Graph();
    const x = g.parameter("x", [1, 2, 4]);
    const options = { segments: g.input("s", [1, 2], "i32"), offset: g.input("o", [1], "i32") };
    expect(() => attention(x, x, x, { heads: 1, kvHeads: 1, scale: 1, ...options })).toThrow(
      "attention: segments and offset don't go together",
    );
  });
});

describe("the reference backend", () => {
  it("refuses a buffer beyond its limit before it asks for the memory", () => {
    expect(() => createReferenceBackend().allocate(2 ** 32 + 256)).toThrow(
      new BackendError("reference: one buffer of 4294967552 bytes is beyond 4294967296"),
    );
  });

  it("orders reads of state after writes to it: a cache row written in a run is seen by it", async () => {
    const g = new Graph();
    const cache = g.state("cache", [1, 3, 2]);
    const x = g.input("x", [1, 1, 2], "f32");
    const offset = g.input("offset", [1], "i32");
    cacheWrite(cache, x, offset);
    const y = attention(x, cache, cache, { heads: 1, kvHeads: 1, scale: 1, offset });
    const { program } = await compile(g, { y }, {});
    await program.run({ x: f32(1, 2), offset: Int32Array.of(0) });
    expect(await program.read("y")).toEqual(f32(1, 2)); // one key: its value
  });
});
