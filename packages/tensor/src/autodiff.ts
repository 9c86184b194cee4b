import type { Graph, Node, Tensor } from "./graph.js";
import type { GradientContext } from "./op.js";
import { definitionOf } from "./ops/index.js";
import { fill } from "./ops/sum.js";
import { size } from "./shape.js";

export interface DifferentiateOptions {
  /**
   * Scopes (blocks) whose intermediates are not kept for the backward pass but computed again from what enters the
   * scope, just before they are read. Default: none.
   */
  recompute?: (scope: string) => boolean;
}

/**
 * Reverse-mode differentiation of `loss` (one element) with respect to `wanted`. Appends the backward nodes to the graph
 * and returns the gradients in the order of `wanted`; a tensor the loss does not depend on gets undefined.
 * Only what `wanted` needs is emitted: no weight gradient for a frozen parameter, nothing below the lowest wanted one.
 */
export function differentiate(
  loss: Tensor,
  wanted: readonly Tensor[],
  options: DifferentiateOptions = {},
): (Tensor | undefined)[] {
  const { graph } = loss;
  const forward = [...graph.nodes];
  const needed = dependents(forward, wanted);
  const recomputation = new Recomputation(graph, forward, options.recompute ?? (() => false), [loss]);
  const gradients = new Map<Tensor, Tensor>([[loss, fill(loss, loss.shape, 1)]]);

  for (const node of forward.toReversed()) {
    const reached = node.outputs.some((t) => gradients.has(t));
    if (!reached || !node.inputs.some((t) => needed.has(t))) continue;
    const rule = definitionOf(node.op).gradient;
    if (!rule) throw new Error(`${node.op} has no gradient, but a trainable tensor is reached only through it`);
    graph.inScope(node.scope, () => {
      rule(contextFor(node, needed, gradients, recomputation)).forEach((gradient, i) => {
        const input = node.inputs[i]!;
        if (!gradient || !needed.has(input)) return;
        if (size(gradient.shape) !== size(input.shape)) throw new Error(`${node.op}: gradient ${i} has the wrong size`);
        const sofar = gradients.get(input);
        gradients.set(input, sofar ? graph.apply("add", [sofar, gradient])[0]! : gradient);
      });
    });
  }
  return wanted.map((t) => gradients.get(t));
}

/** `wanted` and everything computed from it. */
function dependents(nodes: readonly Node[], wanted: readonly Tensor[]): Set<Tensor> {
  const set = new Set(wanted);
  for (const node of nodes) {
    if (node.inputs.some((t) => set.has(t))) for (const t of node.outputs) set.add(t);
  }
  return set;
}

function contextFor(
  node: Node,
  needed: ReadonlySet<Tensor>,
  gradients: ReadonlyMap<Tensor, Tensor>,
  recomputation: Recomputation,
): GradientContext {
  return {
    attrs: node.attrs,
    inputType: (i) => node.inputs[i]!,
    input: (i) => recomputation.value(node.inputs[i]!),
    output: (i) => recomputation.value(node.outputs[i]!),
    needs: (i) => needed.has(node.inputs[i]!),
    outputGradient(i) {
      const gradient = gradients.get(node.outputs[i]!);
      if (!gradient) throw new Error(`${node.op}: only an auxiliary output was used in the loss`);
      return gradient;
    },
  };
}

/** Forward values as the backward pass gets to see them: stored, or computed again within their scope. */
class Recomputation {
  readonly #graph: Graph;
  readonly #chosen: (scope: string) => boolean;
  /** Read outside their own scope, hence stored anyway. */
  readonly #boundary: Set<Tensor>;
  readonly #again = new Map<Tensor, Tensor>();

  constructor(graph: Graph, forward: readonly Node[], chosen: (scope: string) => boolean, kept: Tensor[]) {
    this.#graph = graph;
    this.#chosen = chosen;
    this.#boundary = new Set(kept);
    for (const node of forward) {
      for (const t of node.inputs) if (t.producer && t.producer.scope !== node.scope) this.#boundary.add(t);
    }
  }

  value(t: Tensor): Tensor {
    const node = t.producer;
    if (node && definitionOf(node.op).rematerialize) return this.#repeat(node)[node.outputs.indexOf(t)]!;
    if (!node || node.scope === null || this.#boundary.has(t) || !this.#chosen(node.scope)) return t;
    const known = this.#again.get(t);
    if (known) return known;
    if (definitionOf(node.op).mutates) throw new Error(`${node.op} changes state and cannot be recomputed`);
    const outputs = this.#repeat(node);
    node.outputs.forEach((output, i) => this.#again.set(output, outputs[i]!));
    return this.#again.get(t)!;
  }

  #repeat(node: Node): readonly Tensor[] {
    const inputs = node.inputs.map((input) => this.value(input));
    return this.#graph.inScope(node.scope, () => this.#graph.apply(node.op, inputs, node.attrs), true);
  }
}
