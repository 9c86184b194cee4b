import {
  Graph,
  IGNORE_TARGET,
  add,
  addBias,
  attention,
  differentiate,
  embedding,
  lmHeadLoss,
  matmul,
  ops,
  rmsnorm,
  rope,
  size,
  sum,
  swiglu,
  type Tensor,
  type TypedArray,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { compile, filled, random, relativeError } from "./helpers.js";

interface Case {
  /** Declares parameters p.* and inputs, returns the op's result. */
  build: (g: Graph) => Tensor;
  inputs?: Record<string, TypedArray>;
}

const i32 = (...values: number[]) => new Int32Array(values);
const p = (g: Graph, name: string, ...shape: number[]) => g.parameter(name, shape, "f64");

function attentionCase(options: { heads: number; kvHeads: number; window?: number; segments?: boolean }): Case {
  const { heads, kvHeads, window, segments } = options;
  return {
    build: (g) =>
      attention(p(g, "q", 2, 5, heads * 4), p(g, "k", 2, 5, kvHeads * 4), p(g, "v", 2, 5, kvHeads * 4), {
        heads,
        kvHeads,
        scale: 0.7,
        ...(window ? { window } : {}),
        ...(segments ? { segments: g.input("segments", [2, 5], "i32") } : {}),
      }),
    ...(segments ? { inputs: { segments: i32(0, 0, 1, 1, 1, 0, 1, 1, 2, 2) } } : {}),
  };
}

const matmulCase = (transposeA: boolean, transposeB: boolean): Case => ({
  build: (g) =>
    matmul(p(g, "a", ...(transposeA ? [5, 3] : [3, 5])), p(g, "b", ...(transposeB ? [4, 5] : [5, 4])), {
      transposeA,
      transposeB,
    }),
});

const lmHead = (targets: TypedArray): Case => ({
  build: (g) => lmHeadLoss(p(g, "h", 2, 3, 4), p(g, "w", 7, 4), g.input("targets", [2, 3], "i32")),
  inputs: { targets },
});

/** Every differentiable op of the vocabulary, in the variants it has. */
const cases: Record<string, Case> = {
  "matmul NN": matmulCase(false, false),
  "matmul NT": matmulCase(false, true),
  "matmul TN": matmulCase(true, false),
  "matmul TT": matmulCase(true, true),
  "matmul with leading dims": { build: (g) => matmul(p(g, "a", 2, 3, 5), p(g, "b", 4, 5), { transposeB: true }) },
  add: { build: (g) => add(p(g, "a", 3, 4), p(g, "b", 3, 4)) },
  "add of a tensor to itself": {
    build: (g) => {
      const a = p(g, "a", 3, 4);
      return add(a, a);
    },
  },
  add_bias: { build: (g) => addBias(p(g, "x", 2, 3, 4), p(g, "b", 4)) },
  sum: { build: (g) => sum(p(g, "x", 3, 4)) },
  broadcast: { build: (g) => g.apply("broadcast", [p(g, "s", 1)], { d0: 2, d1: 3 })[0]! },
  rmsnorm: { build: (g) => rmsnorm(p(g, "x", 2, 3, 4), p(g, "w", 4), 1e-5) },
  rope: {
    build: (g) => rope(p(g, "x", 2, 3, 8), g.input("positions", [2, 3], "i32"), p(g, "f", 2)),
    inputs: { positions: i32(0, 1, 2, 5, 6, 7) },
  },
  "rope inverse": {
    build: (g) => rope(p(g, "x", 1, 3, 4), g.input("positions", [1, 3], "i32"), p(g, "f", 2), true),
    inputs: { positions: i32(3, 4, 9) },
  },
  swiglu: { build: (g) => swiglu(p(g, "gate", 3, 4), p(g, "up", 3, 4)) },
  embedding: {
    build: (g) => embedding(p(g, "table", 5, 3), g.input("ids", [2, 2], "i32")),
    inputs: { ids: i32(4, 0, 4, 2) },
  },
  lm_head_loss: lmHead(i32(0, 6, 3, 3, 1, 2)),
  "lm_head_loss with ignored targets": lmHead(i32(0, IGNORE_TARGET, 3, IGNORE_TARGET, 1, 2)),
  "attention MHA": attentionCase({ heads: 2, kvHeads: 2 }),
  "attention GQA": attentionCase({ heads: 4, kvHeads: 2 }),
  "attention window": attentionCase({ heads: 2, kvHeads: 1, window: 2 }),
  "attention segments": attentionCase({ heads: 2, kvHeads: 1, segments: true }),
};

/** What has no gradient rule, and why it needs none. */
const NOT_DIFFERENTIABLE = [
  ...["accumulate", "adamw", "cache_write", "clear", "clip_factor", "copy", "sum_of_squares"], // the optimizer's and the cache's
  "fill", // a constant
  "dequantize", // of weights that are frozen
  // put together after differentiation
  ...["lm_head_loss_with_gradient", "matmul_accumulate", "matmul_add", "matmul_swiglu", "rmsnorm_backward_input_add"],
  ...["attention_backward", "embedding_backward", "lm_head_loss_backward", "rmsnorm_backward_input"],
  ...["rmsnorm_backward_weight", "sum_rows", "swiglu_backward"], // first derivatives only
];

describe("gradients equal central differences in f64, relative error ≤ 1e-6", () => {
  it.each(Object.keys(cases))("%s", async (name) => {
    const { build, inputs = {} } = cases[name]!;
    const g = new Graph();
    const y = build(g);
    // Random weights for rows and columns of y, so that no symmetry of the op can hide an error: loss = rowsᵀ·y·columns.
    const [n, d] = [size(y.shape) / y.shape.at(-1)!, y.shape.at(-1)!];
    const projected = matmul(y, g.state("columns", [d, 1], "f64"));
    const loss = matmul(projected, g.state("rows", [n, 1], "f64"), { transposeA: true });
    // rope's frequencies are constants to the op
    const wanted = [...g.persistent.values()].filter((t) => t.role === "parameter" && t.name !== "f");
    const gradients = differentiate(loss, wanted);
    const next = random(7);
    const values: Record<string, TypedArray> = {};
    for (const t of g.persistent.values()) if (t.role !== "input") values[t.name] = filled(t, next);
    const outputs = Object.fromEntries(wanted.map((t, i) => [`grad ${t.name}`, gradients[i]!]));
    const { program, store } = await compile(g, { loss, ...outputs }, values);

    for (const t of wanted) {
      await program.run(inputs);
      const analytic = await program.read(`grad ${t.name}`);
      const numeric = new Float64Array(analytic.length);
      const base = values[t.name]!;
      const h = 1e-5;
      for (let i = 0; i < base.length; i++) {
        const losses = [];
        for (const shift of [h, -h]) {
          const moved = base.slice();
          moved[i]! += shift;
          await store.write(t.name, moved);
          await program.run(inputs);
          losses.push((await program.read("loss"))[0]!);
        }
        numeric[i] = (losses[0]! - losses[1]!) / (2 * h);
      }
      await store.write(t.name, base);
      expect(relativeError(analytic, numeric), t.name).toBeLessThanOrEqual(1e-6);
    }
  });

  it("covers the whole vocabulary", () => {
    const covered = Object.keys(cases).map((name) => name.split(" ")[0]!);
    expect([...new Set([...covered, ...NOT_DIFFERENTIABLE])].toSorted()).toEqual(Object.keys(ops).toSorted());
  });
});
