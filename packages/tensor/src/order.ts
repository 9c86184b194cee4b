import type { Node, Tensor } from "./graph.js";
import { definitionOf } from "./ops/index.js";

/** Where nodes are, and which of them touch a tensor. */
export class Order {
  readonly #at: ReadonlyMap<Node, number>;
  readonly #makers = new Map<Tensor, Node>();
  readonly #users = new Map<Tensor, { at: number; changes: boolean }[]>();

  constructor(nodes: readonly Node[]) {
    this.#at = new Map(nodes.map((node, i) => [node, i]));
    nodes.forEach((node, at) => {
      const { mutates = [] } = definitionOf(node.op);
      for (const t of node.outputs) this.#makers.set(t, node);
      node.inputs.forEach((t, i) => {
        const users = this.#users.get(t) ?? [];
        users.push({ at, changes: mutates.includes(i) });
        this.#users.set(t, users);
      });
    });
  }

  at(node: Node): number {
    return this.#at.get(node)!;
  }

  maker(t: Tensor): Node | undefined {
    return this.#makers.get(t);
  }

  /** Position of the node that makes it; −1 for what is there before. */
  made(t: Tensor): number {
    const maker = this.#makers.get(t);
    return maker ? this.at(maker) : -1;
  }

  readers(t: Tensor): number {
    return this.#users.get(t)?.length ?? 0;
  }

  /** Whether a node strictly between two others reads or changes it. */
  touched(t: Tensor, from: Node, to: Node): boolean {
    return this.#between(t, from, to).length > 0;
  }

  changed(t: Tensor, from: Node, to: Node): boolean {
    return this.#between(t, from, to).some(({ changes }) => changes);
  }

  #between(t: Tensor, from: Node, to: Node) {
    const [after, before] = [this.at(from), this.at(to)];
    return (this.#users.get(t) ?? []).filter(({ at }) => at > after && at < before);
  }
}
