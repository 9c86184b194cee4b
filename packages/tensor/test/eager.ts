import { definitionOf, type Graph, size, type Tensor, type TypedArray, type View } from "@slayer/tensor";

/**
 * Runs the nodes of `graph` in order, each result in memory of its own: what a plan must compute, without a plan.
 * `values` holds parameters, state and inputs by name, and is changed where an op writes to it.
 */
export function runEagerly(graph: Graph, values: Readonly<Record<string, TypedArray>>): Map<Tensor, TypedArray> {
  const results = new Map<Tensor, TypedArray>();
  const view = (t: Tensor): View => ({ data: t.name ? values[t.name]! : results.get(t)!, shape: t.shape });
  for (const node of graph.nodes) {
    for (const t of node.outputs) {
      results.set(t, t.dtype === "f64" ? new Float64Array(size(t.shape)) : new Float32Array(size(t.shape)));
    }
    definitionOf(node.op).reference(node.inputs.map(view), node.outputs.map(view), node.attrs);
  }
  return results;
}

/** For comparing bit for bit; a NaN equals itself, −0 and 0 differ. */
export function bits(values: TypedArray): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("hex");
}
