import {
  accumulate,
  add,
  copy,
  createReferenceBackend,
  Graph,
  makePlan,
  matmul,
  planMemoryOf,
  Program,
  Store,
  type Tensor,
} from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

/** Products of a [2, 3] and b [3, 2], and a tensor to keep one in. */
function made() {
  const graph = new Graph();
  const a = graph.input("a", [2, 3], "f32");
  const b = graph.input("b", [3, 2], "f32");
  return { graph, a, b, kept: graph.state("kept", [2, 2], "f32") };
}

const stepsOf = (graph: Graph, outputs: Record<string, Tensor> = {}) =>
  makePlan(graph, outputs).steps.map(({ op, outputs: results }) =>
    [op, ...results.map(({ place }) => place.in)].join(" "),
  );

describe("a result that is only copied into state", () => {
  it("is made there, and takes no memory of its own", async () => {
    const { graph, a, b, kept } = made();
    copy(kept, matmul(a, b));
    expect(stepsOf(graph)).toEqual(["matmul persistent"]);
    expect(planMemoryOf(makePlan(graph, {})).intermediates).toBe(0);
    const store = new Store(createReferenceBackend({ poison: true }));
    store.add({ name: "kept", shape: [2, 2], dtype: "f32" });
    await store.write("kept", Float32Array.of(9, 9, 9, 9));
    const program = await Program.compile(graph, {}, store);
    await program.run({ a: Float32Array.of(1, 2, 3, 4, 5, 6), b: Float32Array.of(1, 0, 0, 1, 1, 1) });
    expect([...(await store.read("kept"))]).toEqual([4, 5, 10, 11]);
  });

  it("stays where others read it, or it is an output", () => {
    const read = made();
    const product = matmul(read.a, read.b);
    copy(read.kept, product);
    expect(stepsOf(read.graph, { twice: add(product, product) })).toContain("copy");
    const given = made();
    const output = matmul(given.a, given.b);
    copy(given.kept, output);
    expect(stepsOf(given.graph, { output })).toEqual(["matmul arena", "copy"]);
  });

  it("stays where the state is read before the copy, by its maker or by others", () => {
    const own = made();
    copy(own.kept, add(own.kept, own.kept));
    expect(stepsOf(own.graph)).toEqual(["add arena", "copy"]);
    const between = made();
    const product = matmul(between.a, between.b);
    const before = add(between.kept, between.kept);
    copy(between.kept, product);
    expect(stepsOf(between.graph, { before })).toEqual(["matmul arena", "add arena", "copy"]);
  });

  it("stays where the copy rounds it", () => {
    const { graph, a, b } = made();
    copy(graph.state("half", [2, 2], "bf16"), matmul(a, b));
    expect(stepsOf(graph)).toEqual(["matmul arena", "copy"]);
  });

  it("goes to the last of two copies only where the first has been read", () => {
    const { graph, a, b, kept } = made();
    const [first, second] = [matmul(a, b), matmul(b, a)];
    copy(kept, first);
    const seen = add(kept, kept);
    copy(graph.state("other", [3, 3], "f32"), second);
    copy(kept, matmul(a, b));
    // The second product that goes to `kept` comes after what reads the first.
    expect(stepsOf(graph, { seen })).toEqual([
      "matmul persistent",
      "matmul persistent",
      "add arena",
      "matmul persistent",
    ]);
  });
});

/** What a node does: `left` and `right` choose among the state and what was made so far, counted from the last one back. */
const moves = fc.record({
  kind: fc.constantFrom("add", "copy", "accumulate"),
  target: fc.nat({ max: 2 }),
  left: fc.nat({ max: 5 }),
  right: fc.nat({ max: 5 }),
  output: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
});

it("any order of sums, copies and accumulations leaves what doing them in that order leaves: exact, integers in f32", async () => {
  const shape = [2, 2];
  await fc.assert(
    fc.asyncProperty(fc.array(moves, { minLength: 1, maxLength: 16 }), async (nodes) => {
      const graph = new Graph();
      const state = ["a", "b", "c"].map((name) => graph.state(name, shape));
      const initial = state.map((_, i) => Float32Array.of(1, 2, 3, 5).map((x) => x * (i + 1)));
      const store = new Store(createReferenceBackend({ poison: true }));
      for (const [i, t] of state.entries()) {
        store.add(t);
        await store.write(t.name, initial[i]!);
      }
      // Each tensor beside its values now: a state's array changes, that of an intermediate does not.
      const known = state.map((tensor, i) => ({ tensor, values: initial[i]!.slice() }));
      const outputs: Record<string, Tensor> = {};
      const expected: Record<string, number[]> = {};
      for (const { kind, target, left, right, output } of nodes) {
        const [x, y] = [known.at(-1 - (left % known.length))!, known.at(-1 - (right % known.length))!];
        const to = known[target]!;
        if (kind === "add") {
          const sum = { tensor: add(x.tensor, y.tensor), values: x.values.map((v, i) => v + y.values[i]!) };
          known.push(sum);
          if (output) [outputs[`o${known.length}`], expected[`o${known.length}`]] = [sum.tensor, [...sum.values]];
        } else if (x !== to) {
          (kind === "copy" ? copy : accumulate)(to.tensor, x.tensor);
          to.values.set(kind === "copy" ? x.values : to.values.map((v, i) => v + x.values[i]!));
        }
      }
      const program = await Program.compile(graph, outputs, store);
      await program.run();
      for (const [i, { name }] of state.entries()) expect([...(await store.read(name))]).toEqual([...known[i]!.values]);
      for (const [name, values] of Object.entries(expected)) expect([...(await program.read(name))]).toEqual(values);
    }),
  );
});
