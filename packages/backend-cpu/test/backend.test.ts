import { createCpuBackend } from "@slayer/backend-cpu";
import {
  accumulate,
  add,
  type Backend,
  BackendError,
  copy,
  createReferenceBackend,
  embedding,
  fill,
  Graph,
  makePlan,
  type Operand,
  type Plan,
  Program,
  Store,
  sum,
} from "@slayer/tensor";
import { afterEach, describe, expect, it } from "vitest";
import { isas, missing, note } from "./support/addon.js";

const open: Backend[] = [];
async function create(options: Parameters<typeof createCpuBackend>[0] = { threads: 2 }): Promise<Backend> {
  open.push(await createCpuBackend(options));
  return open.at(-1)!;
}
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.close();
});

/** y = a + b over 8 elements, not run yet, and the backend's own objects behind it. */
async function prepareAdd(backend: Backend, change: (plan: Plan) => Plan = (plan) => plan) {
  const graph = new Graph();
  const y = add(graph.input("a", [8], "f32"), graph.input("b", [8], "f32"));
  const plan = change(makePlan(graph, { y }));
  const [arena, inputs] = [backend.allocate(plan.arenaBytes), backend.allocate(plan.inputBytes)];
  return { arena, inputs, executable: await backend.prepare(plan, { arena, inputs, persistent: [] }) };
}

/** One step after the other adds 1 to each element of a state tensor: it counts the steps that were run. */
async function counting(backend: Backend, steps: number) {
  const graph = new Graph();
  const count = graph.state("count", [65_536]);
  const one = fill(count, [65_536], 1);
  for (let i = 0; i < steps; i++) accumulate(count, one);
  const store = new Store(backend);
  store.add({ name: "count", shape: [65_536], dtype: "f32" });
  const program = await Program.compile(graph, {}, store);
  return { program, counted: async () => (await store.read("count"))[0]! };
}

const withFirst = (plan: Plan, changed: Partial<Operand>): Plan => {
  const [step] = plan.steps;
  return { ...plan, steps: [{ ...step!, inputs: [{ ...step!.inputs[0]!, ...changed }, step!.inputs[1]!] }] };
};

describe.skipIf(missing !== undefined)(`options${note}`, () => {
  it("the fastest instruction set unless one is named; a name that is not there is an error with those that are", async () => {
    expect((await create({ threads: 1 })).capabilities.device).toContain(isas[0]);
    await expect(create({ isa: "mmx" })).rejects.toThrow(
      new BackendError(`cpu: no instruction set 'mmx' on this processor; there is ${isas.join(", ")}`),
    );
  });

  it.each([0, 1.5, -1, 100_000, NaN])("threads %s is an error", async (threads) => {
    await expect(create({ threads })).rejects.toThrow(/threads must be an integer from 1 to 1024/);
  });

  it("SLAYER_THREADS and SLAYER_ISA stand in for options that are not given", async () => {
    process.env.SLAYER_THREADS = "3";
    process.env.SLAYER_ISA = isas.at(-1)!;
    try {
      expect((await create({})).capabilities.device).toContain(`${isas.at(-1)}, 3 threads`);
      expect((await create({ threads: 1 })).capabilities.device).toContain("1 thread");
      process.env.SLAYER_THREADS = "many";
      await expect(create({})).rejects.toThrow('SLAYER_THREADS must be an integer from 1 to 1024, got "many"');
    } finally {
      delete process.env.SLAYER_THREADS;
      delete process.env.SLAYER_ISA;
    }
  });
});

describe.skipIf(missing !== undefined)(`buffers${note}`, () => {
  it("are zeroed, hold what is written, and give copies", async () => {
    const backend = await create();
    for (const bytes of [0, 12, 3 << 20]) {
      const buffer = backend.allocate(bytes);
      expect(buffer.bytes).toBe(bytes);
      expect((await backend.read(buffer, 0, bytes)).every((b) => b === 0)).toBe(true);
    }
    const buffer = backend.allocate(12);
    await backend.write(buffer, 4, Float32Array.of(1.5));
    const copy = await backend.read(buffer, 4, 4);
    expect(new Float32Array(copy.buffer)[0]).toBe(1.5);
    copy.fill(0);
    expect(new Float32Array((await backend.read(buffer, 0, 12)).buffer)).toEqual(Float32Array.of(0, 1.5, 0));
  });

  it.each([
    [13, 0],
    [0, 13],
    [12, 1],
    [-4, 4],
    [0.5, 4],
    [2 ** 60, 1],
  ])("%s bytes at offset %s of 12 is an error", async (bytes, offset) => {
    const backend = await create();
    const buffer = backend.allocate(12);
    await expect(backend.read(buffer, offset, bytes)).rejects.toThrow(BackendError);
    if (bytes >= 0 && bytes < 99 && Number.isInteger(bytes)) {
      await expect(backend.write(buffer, offset, new Uint8Array(bytes))).rejects.toThrow(BackendError);
    }
  });

  it("more than the machine has, freed ones and another backend's are errors", async () => {
    const backend = await create();
    expect(() => backend.allocate(2 ** 50)).toThrow(/beyond the memory/);
    const buffer = backend.allocate(8);
    backend.free(buffer);
    backend.free(buffer);
    await expect(backend.read(buffer, 0, 4)).rejects.toThrow("the buffer was freed");
    await expect(backend.read(createReferenceBackend().allocate(8), 0, 4)).rejects.toThrow("another backend's");
  });
});

describe.skipIf(missing !== undefined)(`prepare rejects${note}`, () => {
  it.each([
    ["an operand beyond its buffer", { place: { in: "inputs", offset: 512 - 28 } }, /input 0: it does not fit/],
    ["an operand far beyond it", { place: { in: "inputs", offset: 2 ** 50 } }, /input 0: it does not fit/],
    ["a negative offset", { place: { in: "inputs", offset: -4 } }, /input 0: offset must be an integer from 0/],
    ["a misaligned operand", { place: { in: "inputs", offset: 2 } }, /offset 2 is no multiple of 4/],
    ["a shape that the op does not take", { shape: [9] }, /add: wanted two operands of one type/],
    ["a persistent tensor that is not bound", { place: { in: "persistent", index: 0 } }, /tensor 0 .* is not bound/],
  ] as const)("%s", async (_, changed, message) => {
    const backend = await create();
    await expect(prepareAdd(backend, (plan) => withFirst(plan, changed as Partial<Operand>))).rejects.toThrow(message);
  });

  it("an output of another shape than the op yields", async () => {
    const backend = await create();
    const grown = (plan: Plan): Plan => {
      const [step] = plan.steps;
      return { ...plan, steps: [{ ...step!, outputs: [{ ...step!.outputs[0]!, shape: [16] }] }] };
    };
    await expect(prepareAdd(backend, grown)).rejects.toThrow("yields f32[8], but the plan says f32[16]");
  });

  it("what supports() says is not supported", async () => {
    const backend = await create();
    const graph = new Graph();
    const y = sum(graph.input("x", [4], "f64"));
    expect(backend.supports(makePlan(graph, { y }).steps[0]!)).toMatch(/f64 is for the reference backend/);
    const ints = { shape: [4], dtype: "i32" } as const;
    expect(backend.supports({ op: "add", attrs: {}, inputs: [ints, ints], outputs: [ints] })).toMatch(/in f32 only/);
  });
});

describe.skipIf(missing !== undefined)(`a run${note}`, () => {
  it("computes on memory that was written before it", async () => {
    const backend = await create();
    const { arena, inputs, executable } = await prepareAdd(backend);
    await backend.write(inputs, 0, Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    await backend.write(inputs, 256, new Float32Array(8).fill(0.5));
    await backend.run(executable);
    const y = new Float32Array((await backend.read(arena, 0, 32)).buffer);
    expect([...y]).toEqual([1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]);
  });

  it("runs of one backend go one after the other, those of two side by side", async () => {
    const [one, two] = [await counting(await create(), 50), await counting(await create(), 70)];
    await Promise.all([one.program.run(), two.program.run(), one.program.run(), two.program.run()]);
    expect(await one.counted()).toBe(100);
    expect(await two.counted()).toBe(140);
  });

  it("leaves the event loop free", async () => {
    const { program, counted } = await counting(await create(), 20_000);
    const order: string[] = [];
    const timer = new Promise((resolve) => setImmediate(resolve)).then(() => order.push("event loop"));
    await Promise.all([program.run().then(() => order.push("run")), timer]);
    expect(order).toEqual(["event loop", "run"]);
    expect(await counted()).toBe(20_000);
  });

  it("ends between two steps when its signal is aborted, with the signal's reason; the backend goes on", async () => {
    const { program, counted } = await counting(await create(), 20_000);
    const controller = new AbortController();
    const run = program.run({}, controller.signal);
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(run).rejects.toBe(reason);
    const before = await counted();
    expect(before).toBeLessThan(20_000);
    expect(Number.isInteger(before)).toBe(true);
    await program.run();
    expect(await counted()).toBe(before + 20_000);
    await expect(program.run({}, controller.signal)).rejects.toBe(reason);
    expect(await counted()).toBe(before + 20_000);
  });

  it("fails with op and step where a kernel finds its values wrong, and the next one works", async () => {
    const backend = await create();
    const graph = new Graph();
    const table = graph.parameter("table", [5, 3]);
    const y = embedding(table, graph.input("ids", [2], "i32"));
    const store = new Store(backend);
    store.add({ name: "table", shape: [5, 3], dtype: "f32" });
    await store.write(
      "table",
      Float32Array.from({ length: 15 }, (_, i) => i),
    );
    const program = await Program.compile(graph, { y }, store);
    await expect(program.run({ ids: Int32Array.of(1, 5) })).rejects.toThrow(
      new BackendError("cpu: step 0, embedding: id 5 at position 1 is outside 0..4"),
    );
    await expect(program.run({ ids: Int32Array.of(-1, 0) })).rejects.toThrow("id -1 at position 0");
    await program.run({ ids: Int32Array.of(4, 0) });
    expect([...(await program.read("y"))]).toEqual([12, 13, 14, 0, 1, 2]);
  });

  it("keeps memory that is freed meanwhile until it ends, and cannot start on freed memory", async () => {
    const { program, counted } = await counting(await create(), 5000);
    const run = program.run();
    program.free();
    await run;
    expect(await counted()).toBe(5000);
    await expect(program.run()).rejects.toThrow("a buffer of this executable was freed");
  });
});

describe.skipIf(missing !== undefined)(`bf16${note}`, () => {
  it.each(isas)(
    "%s: copy rounds every kind of f32 as the reference does, bit for bit, and NaN stays NaN",
    async (isa) => {
      // Every upper half of an f32, with lower halves about the middle between two bf16 numbers.
      const bits = new Uint32Array(65_536 * 5);
      [0, 1, 0x7fff, 0x8000, 0x8001].forEach((low, i) => {
        for (let high = 0; high < 65_536; high++) bits[i * 65_536 + high] = high * 65_536 + low;
      });
      const values = new Float32Array(bits.buffer);
      const rounded = await Promise.all(
        [createReferenceBackend(), await create({ isa, threads: 2 })].map(async (backend) => {
          const graph = new Graph();
          copy(graph.state("y", [values.length], "bf16"), graph.input("x", [values.length], "f32"));
          const store = new Store(backend);
          store.add({ name: "y", shape: [values.length], dtype: "bf16" });
          await (await Program.compile(graph, {}, store)).run({ x: values });
          return (await store.read("y")) as Float32Array;
        }),
      );
      const differs = [...values.keys()].filter((i) => !Object.is(rounded[0]![i], rounded[1]![i]));
      expect(differs.map((i) => bits[i]!.toString(16))).toEqual([]);
      expect(rounded[1]!.filter((x) => Number.isNaN(x)).length).toBe(values.filter((x) => Number.isNaN(x)).length);
    },
  );

  it("activations in bf16 are refused, by supports() and by prepare", async () => {
    const backend = await create();
    const graph = new Graph();
    const y = add(graph.input("a", [8], "bf16"), graph.input("b", [8], "bf16"));
    const plan = makePlan(graph, { y });
    const why = "the cpu backend has weights in bf16, but activations in f32; add got bf16, bf16";
    expect(backend.supports(plan.steps[0]!)).toBe(why);
    const [arena, inputs] = [backend.allocate(plan.arenaBytes), backend.allocate(plan.inputBytes)];
    await expect(backend.prepare(plan, { arena, inputs, persistent: [] })).rejects.toThrow(`cpu: step 0: ${why}`);
  });
});

describe.skipIf(missing !== undefined)(`close${note}`, () => {
  it("ends runs between two steps and refuses everything after", async () => {
    const backend = await create();
    const { program } = await counting(backend, 20_000);
    const runs = [program.run(), program.run()];
    const ended = Promise.allSettled(runs);
    await backend.close();
    await backend.close();
    for (const { status } of await ended) expect(status).toBe("rejected");
    await expect(program.run()).rejects.toThrow("the backend is closed");
    expect(() => backend.allocate(4)).toThrow("the backend is closed");
  });
});
