import {
  add,
  addBias,
  attention,
  differentiate,
  type FloatDType,
  Graph,
  matmul,
  rmsnorm,
  rope,
  sum,
  swiglu,
  type Tensor,
  type TypedArray,
} from "@slayer/tensor";
import fc from "fast-check";
import { filled, random } from "./helpers.js";

const KINDS = ["add", "add_bias", "matmul", "matmul_nt", "rmsnorm", "rope", "swiglu", "attention", "total"] as const;

/** Everything a random graph is made from. */
export interface Recipe {
  rows: number;
  dtype: FloatDType;
  /** Operands are chosen among the results so far, counted from the last one back. */
  nodes: { kind: (typeof KINDS)[number]; left: number; right: number; scope: number }[];
  /** Which parameters get gradients, by turns. */
  trainable: boolean[];
  recompute: boolean;
  seed: number;
}

const pick = fc.nat({ max: 5 });

export const recipes: fc.Arbitrary<Recipe> = fc.record({
  rows: fc.integer({ min: 1, max: 40 }),
  dtype: fc.constantFrom<FloatDType[]>("f32", "f64"),
  nodes: fc.array(fc.record({ kind: fc.constantFrom(...KINDS), left: pick, right: pick, scope: fc.nat({ max: 1 }) }), {
    minLength: 1,
    maxLength: 14,
  }),
  trainable: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
  recompute: fc.boolean(),
  seed: fc.nat(),
});

export interface RandomGraph {
  graph: Graph;
  outputs: Record<string, Tensor>;
  values: Record<string, TypedArray>;
}

const D = 8;

/** A graph of tensors [1, rows, 8], its sum as loss, and the gradients of its trainable parameters. */
export function buildRandomGraph(recipe: Recipe): RandomGraph {
  const { rows, dtype, nodes, trainable, recompute, seed } = recipe;
  const graph = new Graph();
  const positions = graph.input("positions", [1, rows], "i32");
  const frequencies = graph.input("frequencies", [2], dtype);
  const parameter = (...shape: number[]) => graph.parameter(`p${graph.persistent.size}`, shape, dtype);
  const results: Tensor[] = [parameter(1, rows, D)];
  const norm = (x: Tensor) => rmsnorm(x, parameter(D), 1e-3);
  const make = (kind: (typeof KINDS)[number], a: Tensor, b: Tensor): Tensor => {
    switch (kind) {
      case "add":
        return add(a, b);
      case "add_bias":
        return addBias(a, parameter(D));
      case "matmul":
        return matmul(a, parameter(D, D));
      case "matmul_nt":
        return matmul(a, parameter(D, D), { transposeB: true });
      case "rmsnorm":
        return norm(a);
      case "rope":
        return rope(a, positions, frequencies);
      case "swiglu":
        return swiglu(norm(a), norm(b)); // products of sums of products would soon leave f32
      case "attention":
        return attention(norm(a), norm(b), b, { heads: 2, kvHeads: 2, scale: 0.5 });
      case "total":
        return graph.apply("broadcast", [sum(norm(a))], { d0: 1, d1: rows, d2: D })[0]!;
      default:
        return kind satisfies never;
    }
  };
  nodes.forEach(({ kind, left, right, scope }, i) => {
    const back = (n: number) => results[results.length - 1 - (n % results.length)]!;
    // A scope is entered once, as a block is.
    const name = scope === 0 ? null : `block.${i}`;
    results.push(graph.inScope(name, () => make(kind, back(left), back(right))));
  });
  const loss = sum(results.at(-1)!);
  const wanted = [...graph.persistent.values()].filter(
    (t, i) => t.role === "parameter" && trainable[i % trainable.length],
  );
  const gradients = differentiate(loss, wanted, { recompute: () => recompute });
  const outputs: Record<string, Tensor> = { loss };
  gradients.forEach((g, i) => {
    if (g) outputs[`d${wanted[i]!.name}`] = g;
  });

  const next = random(seed);
  const frequencyValues = [1, 0.01];
  const values: Record<string, TypedArray> = {
    positions: Int32Array.from({ length: rows }, (_, i) => i),
    frequencies: dtype === "f64" ? Float64Array.from(frequencyValues) : Float32Array.from(frequencyValues),
  };
  for (const t of graph.persistent.values()) values[t.name] ??= filled(t, next);
  return { graph, outputs, values };
}
