import {
  ALIGNMENT,
  createReferenceBackend,
  differentiate,
  makePlan,
  matmul,
  type Plan,
  Graph,
  size,
} from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bits, runEagerly } from "./eager.js";
import { compile, filled, random } from "./helpers.js";
import { inputsOf, llamaGraph, llamaValues } from "./llama-graph.js";
import { buildRandomGraph, type RandomGraph, recipes } from "./random-graph.js";

/** Two blocks, all weights trainable, block 0 recomputed. */
function llamaWithGradients(dtype: "f32" | "f64"): RandomGraph {
  const { graph, loss } = llamaGraph(2, dtype);
  const wanted = [...graph.persistent.values()].filter((t) => t.role === "parameter");
  const gradients = differentiate(loss, wanted, { recompute: (scope) => scope === "block.0" });
  const outputs = Object.fromEntries(wanted.map((t, i) => [`d${t.name}`, gradients[i]!]));
  return { graph, outputs: { loss, ...outputs }, values: llamaValues(graph, dtype) };
}

/** Compiles, runs twice and compares every output with eager execution, each time. */
async function expectAsEager({ graph, outputs, values }: RandomGraph): Promise<void> {
  const eager = runEagerly(graph, values);
  const { program } = await compile(graph, outputs, values, createReferenceBackend({ poison: true }));
  for (let run = 0; run < 2; run++) {
    await program.run(inputsOf(graph, values));
    for (const [name, t] of Object.entries(outputs)) {
      const expected = eager.get(t)!;
      expect(expected.every((x) => Number.isFinite(x))).toBe(true); // or a poisoned one could hide
      expect(`run ${run} ${name} ${bits(await program.read(name))}`).toBe(`run ${run} ${name} ${bits(expected)}`);
    }
  }
}

/** The end of the highest byte range that any step read or wrote in the arena. */
async function highWaterMark({ graph, outputs, values }: RandomGraph): Promise<{ plan: Plan; end: number }> {
  let end = 0;
  const onTouch = (offset: number, bytes: number) => {
    end = Math.max(end, offset + bytes);
  };
  const { program } = await compile(graph, outputs, values, createReferenceBackend({ onTouch }));
  await program.run(inputsOf(graph, values));
  return { plan: program.plan, end };
}

describe("planned memory, with freed ranges poisoned, first run and replay equal eager execution bit for bit", () => {
  it("for 150 random graphs and their gradients", async () => {
    await fc.assert(
      fc.asyncProperty(recipes, (recipe) => expectAsEager(buildRandomGraph(recipe))),
      { numRuns: 150 },
    );
  });

  it.each(["f32", "f64"] as const)("for a llama of two blocks with loss and all gradients in %s", async (dtype) => {
    await expectAsEager(llamaWithGradients(dtype));
  });

  it("poison is NaN in f32 and f64, and reaches the arena", async () => {
    for (const dtype of ["f32", "f64"] as const) {
      const g = new Graph();
      const a = g.parameter("a", [4, 4], dtype);
      const first = matmul(a, a);
      const second = matmul(first, a);
      const values = { a: filled(a, random(1)) };
      const backend = createReferenceBackend({ poison: true });
      const arenas: { bytes: number }[] = [];
      const watched = {
        ...backend,
        allocate(bytes: number) {
          const buffer = backend.allocate(bytes);
          arenas.push(buffer);
          return buffer;
        },
      };
      const { program } = await compile(g, { second }, values, watched);
      await program.run();
      // Buffers in order of allocation: the store's, the arena, the inputs'. `first` is dead once `second` is there.
      const arena = await backend.read(arenas[1]!, 0, program.plan.arenaBytes);
      const [at] = program.plan.steps[1]!.frees[0]!;
      const view = dtype === "f64" ? new Float64Array(arena.buffer, at, 16) : new Float32Array(arena.buffer, at, 16);
      expect(view.every((x) => Number.isNaN(x))).toBe(true);
    }
  });
});

describe("the planned peak is what is touched", () => {
  // The arena ends with the padding of its highest range: less than one alignment unit is never touched.
  const expectTight = async (graph: RandomGraph) => {
    const { plan, end } = await highWaterMark(graph);
    expect(Math.ceil(end / ALIGNMENT) * ALIGNMENT).toBe(plan.arenaBytes);
  };

  it("up to the padding of the highest range, for 100 random graphs", async () => {
    await fc.assert(
      fc.asyncProperty(recipes, (recipe) => expectTight(buildRandomGraph(recipe))),
      { numRuns: 100 },
    );
  });

  it("up to the padding of the highest range, for a llama of two blocks with all gradients", async () => {
    await expectTight(llamaWithGradients("f32"));
  });

  it("exactly, where sizes are multiples of the alignment: one product of 64×64 is 16384 bytes", async () => {
    const g = new Graph();
    const a = g.parameter("a", [64, 64]);
    const graph = { graph: g, outputs: { y: matmul(a, a) }, values: { a: filled(a, random(3)) } };
    const { plan, end } = await highWaterMark(graph);
    expect([plan.arenaBytes, end]).toEqual([16384, 16384]);
  });

  it("and far below the sum of all intermediates", () => {
    const { graph, outputs } = llamaWithGradients("f32");
    const plan = makePlan(graph, outputs);
    const sum = plan.steps.flatMap((s) => s.outputs).reduce((bytes, t) => bytes + 4 * size(t.shape), 0);
    expect(plan.arenaBytes).toBeLessThan(0.6 * sum);
  });
});
