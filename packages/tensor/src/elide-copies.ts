import type { Node, Tensor } from "./graph.js";
import { Order } from "./order.js";

/**
 * Leaves out copies into parameters and state of what nothing else reads: it is made where it is kept. Returns the nodes that remain, and
 * where each such result goes. `kept` are outputs of the plan.
 */
export function elideCopies(nodes: readonly Node[], kept: ReadonlySet<Tensor>) {
  const order = new Order(nodes);
  const into = new Map<Tensor, Tensor>();
  const elided = new Set<Node>();
  for (const node of nodes) {
    if (node.op !== "copy") continue;
    const [target, x] = node.inputs as [Tensor, Tensor];
    const maker = order.maker(x);
    if (!maker || x.role !== "intermediate" || x.dtype !== target.dtype) continue;
    if (kept.has(x) || order.readers(x) > 1) continue;
    // Until the copy the target holds what it held before, for whoever reads it: the maker itself too.
    if (maker.inputs.includes(target) || order.touched(target, maker, node)) continue;
    into.set(x, target);
    elided.add(node);
  }
  return { nodes: nodes.filter((node) => !elided.has(node)), into };
}
