import type { Kernel } from "./backend.js";
import { fuseLmHead } from "./fuse-lm-head.js";
import type { Node, Tensor } from "./graph.js";
import type { OpName } from "./ops/index.js";
import { Order } from "./order.js";

/** Whether a backend has a kernel that it wants such nodes to become. */
export type CanFuse = (kernel: Kernel) => boolean;

/**
 * Puts accumulations right behind what they add: a gradient is recorded with all others at the end of the backward pass, but need not
 * wait there. Changes no value.
 */
export function hoistAccumulations(nodes: readonly Node[]): Node[] {
  const order = new Order(nodes);
  const behind = new Map<Node, Node[]>();
  const moved = new Set<Node>();
  for (const node of nodes) {
    const producer = node.op === "accumulate" ? order.maker(node.inputs[1]!) : undefined;
    if (!producer || order.touched(node.inputs[0]!, producer, node)) continue;
    behind.set(producer, [...(behind.get(producer) ?? []), node]);
    moved.add(node);
  }
  return nodes.flatMap((node) => (moved.has(node) ? [] : [node, ...(behind.get(node) ?? [])]));
}

/**
 * Puts products together with what alone reads them, where the backend can: SwiGLU, a sum (the residual connection), an accumulation (a
 * weight's gradient); a norm's gradient with the sum that alone reads it (the residual connection again); and the LM head's loss with its
 * gradient. What is between is then neither stored nor rounded, but for the products of a SwiGLU that others read. `kept` are outputs of the
 * plan.
 */
export function fuse(nodes: readonly Node[], kept: ReadonlySet<Tensor>, can: CanFuse): Node[] {
  const whole = fuseLmHead(nodes, kept, can);
  return [fuseSwiglu, fuseSums].reduce((before, pass) => pass(new Replacements(before, kept, can)), whole);
}

function fuseSwiglu(work: Replacements): Node[] {
  const { nodes, order } = work;
  for (const node of nodes) {
    if (node.op !== "swiglu") continue;
    const [gate, up] = node.inputs as [Tensor, Tensor];
    const [g, u] = [work.productOf(gate), work.productOf(up)];
    if (!g || !u || g === u || g.inputs[0] !== u.inputs[0] || !isLinear(g) || !isLinear(u)) continue;
    // The earlier product is made where the later one is: nobody may want it, or change what it is made of, before.
    const [first, last] = order.at(g) < order.at(u) ? [g, u] : [u, g];
    if (order.touched(first.outputs[0]!, first, last)) continue;
    if (first.inputs.some((t) => order.changed(t, first, last))) continue;
    const keep = !work.alone(gate) || !work.alone(up);
    const inputs = [g.inputs[0]!, g.inputs[1]!, u.inputs[1]!];
    const outputs = keep ? [...node.outputs, gate, up] : node.outputs;
    work.replace(node, [first, last], { op: "matmul_swiglu", attrs: { keep }, inputs, outputs });
  }
  return work.result();
}

/** What an op and the sum that its result goes into are together. */
const WITH_SUM: Partial<Record<OpName, OpName>> = {
  matmul: "matmul_add",
  rmsnorm_backward_input: "rmsnorm_backward_input_add",
};

function fuseSums(work: Replacements): Node[] {
  const { nodes, order } = work;
  for (const node of nodes) {
    if (node.op === "accumulate") {
      const [target, x] = node.inputs as [Tensor, Tensor];
      const product = work.productOf(x);
      if (!product || !work.alone(x) || order.touched(target, product, node)) continue;
      const inputs = [target, ...product.inputs];
      work.replace(node, [product], { op: "matmul_accumulate", attrs: product.attrs, inputs, outputs: [] });
    } else if (node.op === "add") {
      const sides = [node.inputs, node.inputs.toReversed()] as [Tensor, Tensor][];
      // Of two such terms the later one, which can take the other's result.
      for (const [c, x] of sides.toSorted(([, a], [, b]) => order.made(b) - order.made(a))) {
        const maker = work.makerOf(x);
        const op = maker && WITH_SUM[maker.op];
        if (!op || !work.alone(x) || order.made(c) >= order.made(x) || order.changed(c, maker, node)) continue;
        const [inputs, { outputs }] = [[...maker.inputs, c], node];
        if (work.replace(node, [maker], { op, attrs: maker.attrs, inputs, outputs })) break;
      }
    }
  }
  return work.result();
}

const isLinear = ({ attrs }: Node) => !attrs.transposeA && attrs.transposeB === true && !attrs.f32;

/** Nodes of which some give way to others. */
class Replacements {
  readonly nodes: readonly Node[];
  readonly order: Order;
  readonly #kept: ReadonlySet<Tensor>;
  readonly #can: CanFuse;
  readonly #instead = new Map<Node, Node | null>();

  constructor(nodes: readonly Node[], kept: ReadonlySet<Tensor>, can: CanFuse) {
    this.nodes = nodes;
    this.order = new Order(nodes);
    this.#kept = kept;
    this.#can = can;
  }

  /** The node that makes `t`, if it has not become part of something else. */
  makerOf(t: Tensor): Node | undefined {
    const maker = this.order.maker(t);
    return maker && !this.#instead.has(maker) ? maker : undefined;
  }

  /** … if it is a product. */
  productOf(t: Tensor): Node | undefined {
    const maker = this.makerOf(t);
    return maker?.op === "matmul" ? maker : undefined;
  }

  /** Whether only one node reads `t`. */
  alone(t: Tensor): boolean {
    return this.order.readers(t) === 1 && !this.#kept.has(t);
  }

  /** One node for `node` and the makers of what it reads, in the place of the last of them. False if the backend has no kernel for it. */
  replace(node: Node, makers: readonly Node[], change: Pick<Node, "op" | "attrs" | "inputs" | "outputs">): boolean {
    const { scope } = makers[0]!;
    const { recomputed } = node;
    if (makers.some((maker) => maker.scope !== scope || maker.recomputed !== recomputed)) return false;
    const fused: Node = { ...change, scope, recomputed };
    if (!this.#can(fused)) return false;
    for (const maker of makers) this.#instead.set(maker, null);
    this.#instead.set(makers.at(-1)!, fused);
    this.#instead.set(node, null);
    return true;
  }

  result(): Node[] {
    return this.nodes.flatMap((node) => {
      const instead = this.#instead.get(node);
      return instead === undefined ? [node] : instead === null ? [] : [instead];
    });
  }
}
