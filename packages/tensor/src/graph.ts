import type { DType } from "./dtype.js";
import type { Attrs } from "./op.js";
import { definitionOf, type OpName } from "./ops/index.js";
import type { Shape, TensorType } from "./shape.js";

/**
 * parameter: a weight, kept between runs. state: anything else kept between runs (gradients, moments, caches).
 * input: written before each run. intermediate: computed by a node; lives only as long as it is read.
 */
export type Role = "parameter" | "state" | "input" | "intermediate";

/** A symbolic tensor: a type and a place in a graph, no values. */
export interface Tensor extends TensorType {
  readonly graph: Graph;
  readonly id: number;
  readonly role: Role;
  /** Unique among parameters, state and inputs; empty for intermediates. */
  readonly name: string;
  /** The node that computes it; null for all but intermediates. */
  readonly producer: Node | null;
}

/** One op applied. Nodes run in the order in which they were recorded. */
export interface Node {
  readonly op: OpName;
  readonly attrs: Attrs;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** The block it belongs to, if any; recomputation works scope by scope. */
  readonly scope: string | null;
  /** True if it computes a forward value a second time. */
  readonly recomputed: boolean;
}

/** Records ops in order. A model is a function that, run once over a Graph, describes itself. */
export class Graph {
  readonly nodes: Node[] = [];
  readonly #persistent = new Map<string, Tensor>();
  #nextId = 0;
  #scope: string | null = null;
  #recomputing = false;

  parameter(name: string, shape: Shape, dtype: DType = "f32"): Tensor {
    return this.#declare("parameter", name, shape, dtype);
  }

  state(name: string, shape: Shape, dtype: DType = "f32"): Tensor {
    return this.#declare("state", name, shape, dtype);
  }

  input(name: string, shape: Shape, dtype: DType): Tensor {
    return this.#declare("input", name, shape, dtype);
  }

  /** Every parameter, state and input by name, in order of declaration. */
  get persistent(): ReadonlyMap<string, Tensor> {
    return this.#persistent;
  }

  /** Nodes recorded inside `body` belong to `scope` (a transformer block, say). */
  inScope<T>(scope: string | null, body: () => T, recomputing = false): T {
    const before = [this.#scope, this.#recomputing] as const;
    this.#scope = scope;
    this.#recomputing = recomputing;
    try {
      return body();
    } finally {
      [this.#scope, this.#recomputing] = before;
    }
  }

  /** Records one op; throws ShapeError if the operands don't fit it. */
  apply(op: OpName, inputs: readonly Tensor[], attrs: Attrs = {}): readonly Tensor[] {
    const definition = definitionOf(op);
    for (const t of inputs) {
      if (t.graph !== this) throw new Error(`${op}: operand '${t.name || `#${t.id}`}' belongs to another graph`);
    }
    for (const i of definition.mutates ?? []) {
      const role = inputs[i]?.role;
      if (role === "input" || role === "intermediate") {
        throw new Error(`${op} writes its operand ${i}, which must be a parameter or state, not an ${role}`);
      }
    }
    const outputs: Tensor[] = [];
    const node: Node = { op, attrs, inputs, outputs, scope: this.#scope, recomputed: this.#recomputing };
    for (const type of definition.infer(inputs, attrs)) {
      outputs.push({ ...type, graph: this, id: this.#nextId++, role: "intermediate", name: "", producer: node });
    }
    this.nodes.push(node);
    return outputs;
  }

  #declare(role: Role, name: string, shape: Shape, dtype: DType): Tensor {
    if (this.#persistent.has(name)) throw new Error(`the graph already has a tensor named '${name}'`);
    if (shape.some((d) => !Number.isSafeInteger(d) || d < 1)) {
      throw new Error(`'${name}': extents must be positive integers, got [${shape.join(",")}]`);
    }
    const tensor: Tensor = { graph: this, id: this.#nextId++, role, name, shape, dtype, producer: null };
    this.#persistent.set(name, tensor);
    return tensor;
  }
}
