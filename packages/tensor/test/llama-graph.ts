import {
  add,
  attention,
  embedding,
  type FloatDType,
  Graph,
  lmHeadLoss,
  matmul,
  rmsnorm,
  rope,
  sum,
  swiglu,
  type Tensor,
  type TypedArray,
} from "@slayer/tensor";
import { filled, random } from "./helpers.js";

export const sizes = { B: 2, T: 12, D: 16, H: 4, K: 2, E: 4, F: 24, V: 29 };

/** Weights of one block by their module, and their shapes. */
export const blockWeights: Readonly<Record<string, readonly number[]>> = {
  input_norm: [sizes.D],
  q_proj: [sizes.H * sizes.E, sizes.D],
  k_proj: [sizes.K * sizes.E, sizes.D],
  v_proj: [sizes.K * sizes.E, sizes.D],
  o_proj: [sizes.D, sizes.H * sizes.E],
  post_norm: [sizes.D],
  gate_proj: [sizes.F, sizes.D],
  up_proj: [sizes.F, sizes.D],
  down_proj: [sizes.D, sizes.F],
};

export interface LlamaGraph {
  graph: Graph;
  /** Sum of the tokens' losses [1]. */
  loss: Tensor;
  weight(name: string): Tensor;
}

/** A llama of `blocks` blocks, written out on tensor ops; weights are named `<block>.<module>`, scopes `block.<block>`. */
export function llamaGraph(blocks: number, dtype: FloatDType = "f32"): LlamaGraph {
  const { B, T, D, H, K, E, V } = sizes;
  const graph = new Graph();
  const ids = graph.input("ids", [B, T], "i32");
  const positions = graph.input("positions", [B, T], "i32");
  const frequencies = graph.input("frequencies", [E / 2], dtype);
  const targets = graph.input("targets", [B, T], "i32");
  const weight = (name: string) => graph.persistent.get(name)!;
  let x = embedding(graph.parameter("embed", [V, D], dtype), ids);
  for (let l = 0; l < blocks; l++) {
    for (const [module, shape] of Object.entries(blockWeights)) graph.parameter(`${l}.${module}`, shape, dtype);
    const linear = (h: Tensor, module: string) => matmul(h, weight(`${l}.${module}`), { transposeB: true });
    x = graph.inScope(`block.${l}`, () => {
      const h = rmsnorm(x, weight(`${l}.input_norm`), 1e-5);
      const q = rope(linear(h, "q_proj"), positions, frequencies);
      const k = rope(linear(h, "k_proj"), positions, frequencies);
      const o = attention(q, k, linear(h, "v_proj"), { heads: H, kvHeads: K, scale: E ** -0.5 });
      const middle = add(x, linear(o, "o_proj"));
      const m = rmsnorm(middle, weight(`${l}.post_norm`), 1e-5);
      return add(middle, linear(swiglu(linear(m, "gate_proj"), linear(m, "up_proj")), "down_proj"));
    });
  }
  const final = rmsnorm(x, graph.parameter("norm", [D], dtype), 1e-5);
  const loss = sum(lmHeadLoss(final, graph.parameter("head", [V, D], dtype), targets));
  return { graph, loss, weight };
}

/** Values for everything the graph holds: random weights, ids and targets, positions that count. */
export function llamaValues(graph: Graph, dtype: FloatDType = "f32"): Record<string, TypedArray> {
  const { B, T, E, V } = sizes;
  const next = random(11);
  const id = () => Math.floor(((next() + 1) / 2) * V);
  const frequencies = Array.from({ length: E / 2 }, (_, i) => 10000 ** ((-2 * i) / E));
  const values: Record<string, TypedArray> = {
    ids: Int32Array.from({ length: B * T }, id),
    positions: Int32Array.from({ length: B * T }, (_, i) => i % T),
    frequencies: dtype === "f64" ? Float64Array.from(frequencies) : Float32Array.from(frequencies),
    targets: Int32Array.from({ length: B * T }, id),
  };
  for (const t of graph.persistent.values()) values[t.name] ??= filled(t, next);
  return values;
}

/** The part of `values` that is written before each run. */
export function inputsOf(graph: Graph, values: Record<string, TypedArray>): Record<string, TypedArray> {
  return Object.fromEntries(Object.entries(values).filter(([name]) => graph.persistent.get(name)!.role === "input"));
}
