import { createCpuBackend } from "@slayer/backend-cpu";
import { Graph, Program, Store } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { isas, missing, note } from "./support/addon.js";

/**
 * Products of the blocked path, too large to be recomputed in JavaScript. C is checked by its effect (Freivalds, "Probabilistic
 * machines can use less running time", 1977): C·v = op(A)·(op(B)·v) in f64 for a random v, row by row. An element of C that is
 * off by δ moves its row by δ·vⱼ.
 */
const products = [
  { what: "A packed by each task", layout: "TN", m: 515, n: 389, k: 1000 },
  { what: "… in two steps of k", layout: "TT", m: 203, n: 150, k: 1500 },
  { what: "… for rows 4 KiB apart", layout: "NN", m: 300, n: 130, k: 1024 },
  { what: "A packed together, two blocks of columns", layout: "TN", m: 131, n: 1300, k: 250 },
  { what: "A in place, two blocks of columns", layout: "NT", m: 180, n: 1100, k: 300 },
  { what: "several slabs of k", layout: "NN", m: 2500, n: 1700, k: 1030 },
  { what: "more rows than one slab takes", layout: "TN", m: 4100, n: 130, k: 70 },
  { what: "more columns than one slab takes", layout: "NN", m: 136, n: 4100, k: 70 },
];

/** Uniform in [−1, 1), the same each time. */
function uniform(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** X·v in f64, or Xᵀ·v, of X in `rows` rows. */
function times(x: Float32Array, rows: number, transposed: boolean, v: Float64Array): Float64Array {
  const columns = x.length / rows;
  const out = new Float64Array(transposed ? columns : rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const value = x[i * columns + j] as number;
      if (transposed) out[j]! += value * (v[i] as number);
      else out[i]! += value * (v[j] as number);
    }
  }
  return out;
}

describe.skipIf(missing !== undefined)(`large products${note}`, () => {
  // A row's error is a sum of n roundings of sums of k products, as random as they are: √n·√k·2⁻²⁴ for values of size 1 at most,
  // with a factor of 8 to spare; a single product left out, of size 1/4, is 100 to 1000 times as much.
  it.each(isas)("%s, 2 threads: rows of C·v within 8·√(n·k)·2⁻²⁴ of f64's", async (isa) => {
    const backend = await createCpuBackend({ isa, threads: 2 });
    const wrong: string[] = [];
    for (const { what, layout, m, n, k } of products) {
      const [transposeA, transposeB] = [layout[0] === "T", layout[1] === "T"];
      const [a, b] = [uniform(m * k, 1), uniform(k * n, 2)];
      const store = new Store(backend);
      const graph = new Graph();
      const shapes = { a: transposeA ? [k, m] : [m, k], b: transposeB ? [n, k] : [k, n] };
      for (const [name, values] of [["a", a] as const, ["b", b] as const]) {
        store.add({ name, shape: shapes[name], dtype: "f32" });
        await store.write(name, values);
      }
      const operands = [graph.state("a", shapes.a), graph.state("b", shapes.b)];
      const [c] = graph.apply("matmul", operands, { transposeA, transposeB });
      const program = await Program.compile(graph, { c: c! }, store);
      await program.run();
      const v = Float64Array.from(uniform(n, 3));
      const wanted = times(a, shapes.a[0]!, transposeA, times(b, shapes.b[0]!, transposeB, v));
      const got = times((await program.read("c")) as Float32Array, m, false, v);
      const worst = got.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i]!)), 0);
      // A NaN would compare as small.
      if (!(worst <= 8 * Math.sqrt(n * k) * 2 ** -24)) wrong.push(`${what}: ${layout} ${m}×${n}×${k}: ${worst}`);
      program.free();
      store.free();
    }
    await backend.close();
    expect(wrong).toEqual([]);
  });
});
