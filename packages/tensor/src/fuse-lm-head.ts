import type { CanFuse } from "./fuse.js";
import type { Node, Tensor } from "./graph.js";
import { definitionOf } from "./ops/index.js";
import { Order } from "./order.js";

/**
 * Makes one node of the LM head's loss and of its gradient, where the backend can, in the place of the gradient: the logits are made once. What
 * reads the loss in between (its sum) comes after.
 */
export function fuseLmHead(nodes: readonly Node[], kept: ReadonlySet<Tensor>, can: CanFuse): Node[] {
  return nodes
    .filter(({ op }) => op === "lm_head_loss_backward")
    .reduce((before, backward) => fuseOne(before, backward, kept, can) ?? before, [...nodes]);
}

function fuseOne(nodes: Node[], backward: Node, kept: ReadonlySet<Tensor>, can: CanFuse): Node[] | undefined {
  const order = new Order(nodes);
  const [dnll, h, w, targets, lse] = backward.inputs as [Tensor, Tensor, Tensor, Tensor, Tensor];
  const loss = order.maker(lse);
  if (loss?.op !== "lm_head_loss" || [h, w, targets].some((t, i) => t !== loss.inputs[i])) return undefined;
  if (order.readers(lse) > 1 || kept.has(lse)) return undefined;
  const readers = dependents(nodes.slice(order.at(loss) + 1, order.at(backward)), loss.outputs);
  if (readers.some(({ outputs }) => outputs.includes(dnll))) return undefined;
  // All that moves behind must find there what it would have found in its place.
  const moved = [loss, ...readers];
  if (readers.some(({ op }) => (definitionOf(op).mutates ?? []).length > 0)) return undefined;
  if (moved.some((node) => node.inputs.some((t) => order.changed(t, node, backward)))) return undefined;

  const { attrs, scope, recomputed } = backward;
  const fused: Node = {
    op: "lm_head_loss_with_gradient",
    attrs,
    inputs: [dnll, h, w, targets],
    outputs: [loss.outputs[0]!, ...backward.outputs],
    scope,
    recomputed,
  };
  if (loss.scope !== scope || loss.recomputed !== recomputed || !can(fused)) return undefined;
  return nodes.flatMap((node) => (node === backward ? [fused, ...readers] : moved.includes(node) ? [] : [node]));
}

/** Those nodes that read these tensors, or what is made of them. */
function dependents(nodes: readonly Node[], tensors: readonly Tensor[]): Node[] {
  const made = new Set(tensors);
  return nodes.filter(({ inputs, outputs }) => {
    if (!inputs.some((t) => made.has(t))) return false;
    for (const t of outputs) made.add(t);
    return true;
  });
}
