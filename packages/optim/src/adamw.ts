import {
  accumulate,
  adamw,
  add,
  clear,
  clipFactor,
  differentiate,
  Graph,
  Program,
  type Store,
  sumOfSquares,
  type DifferentiateOptions,
  type Tensor,
  type TensorType,
} from "@slayer/tensor";

export interface AdamWOptions {
  betas: readonly [number, number];
  eps: number;
  /** Decoupled weight decay. Applies to matrices only: norms and biases (tensors of one dimension) are not decayed. */
  weightDecay: number;
  /** Bound on the global gradient norm; 0: none. */
  clip: number;
}

export type NamedType = TensorType & { readonly name: string };

/** The two ranges in which trainable tensors lie: those that are decayed and those that are not. */
const GROUPS = ["decay", "no_decay"] as const;
const groupOf = (type: TensorType) => (type.shape.length >= 2 ? "decay" : "no_decay");

/** The tensors kept beside each trainable parameter; each kind lies in flat ranges of its own. */
const KINDS = ["gradient", "adamw.m", "adamw.v"] as const;

/** Name in the store of what is kept beside a parameter: its gradient or a moment of AdamW. */
export function companionName(kind: (typeof KINDS)[number], parameter: string): string {
  return `${kind}.of.${parameter}`;
}

/**
 * AdamW over a set of trainable parameters. They lie one after the other in memory, and so do their gradients and moments, so
 * that an update is one launch over flat ranges however many tensors there are.
 */
export class AdamW {
  /** Holds the trainable parameters (under their own names), gradients and moments. */
  readonly store: Store;
  readonly trainable: readonly NamedType[];
  readonly #update: Program;
  readonly #betas: readonly [number, number];

  private constructor(
    store: Store,
    trainable: readonly NamedType[],
    update: Program,
    betas: readonly [number, number],
  ) {
    this.store = store;
    this.trainable = trainable;
    this.#update = update;
    this.#betas = betas;
  }

  /** Adds parameters, gradients and moments to `store`, zeroed: load the parameters afterwards. */
  static async create(store: Store, trainable: readonly NamedType[], options: AdamWOptions): Promise<AdamW> {
    if (trainable.length === 0) throw new RangeError("AdamW: nothing is trainable");
    const lengths = new Map<string, number>();
    for (const group of GROUPS) {
      const members = trainable.filter((type) => groupOf(type) === group);
      if (members.length === 0) continue;
      const length = store.addRange(members, `parameter.${group}`);
      for (const kind of KINDS) {
        store.addRange(
          members.map((type) => ({ ...type, name: companionName(kind, type.name) })),
          `${kind}.${group}`,
        );
      }
      lengths.set(group, length);
    }
    const dtype = trainable[0]!.dtype;
    const graph = new Graph();
    const outputs = recordUpdate(graph, lengths, dtype, options);
    const update = await Program.compile(graph, outputs, store);
    return new AdamW(store, trainable, update, options.betas);
  }

  /**
   * One optimizer step with the accumulated gradients times `scale` (1 / scored tokens), which are zero afterwards. `step`
   * counts from 0. Resolves to the gradient norm before clipping.
   */
  async step(step: number, lr: number, scale: number): Promise<number> {
    const [beta1, beta2] = this.#betas;
    const corrections = [lr, 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)];
    const array = this.trainable[0]!.dtype === "f64" ? Float64Array : Float32Array;
    await this.#update.run({ step: array.from(corrections), scale: array.of(scale) });
    return (await this.#update.read("norm"))[0]!;
  }
}

/**
 * Records into the graph of a forward pass that the gradients of `loss` with respect to the trainable parameters are
 * added to those already accumulated. Every trainable parameter must have one.
 */
export function accumulateGradients(
  loss: Tensor,
  trainable: readonly NamedType[],
  options: DifferentiateOptions = {},
): void {
  const { graph } = loss;
  const parameters = trainable.map(({ name }) => {
    const parameter = graph.persistent.get(name);
    if (!parameter) throw new Error(`the graph does not use the trainable parameter '${name}'`);
    return parameter;
  });
  differentiate(loss, parameters, options).forEach((gradient, i) => {
    const { name, shape, dtype } = trainable[i]!;
    if (!gradient) throw new Error(`the loss does not depend on '${name}'`);
    accumulate(graph.state(companionName("gradient", name), shape, dtype), gradient);
  });
}

function recordUpdate(
  graph: Graph,
  lengths: ReadonlyMap<string, number>,
  dtype: TensorType["dtype"],
  options: AdamWOptions,
): { norm: Tensor } {
  const step = graph.input("step", [3], dtype);
  const scale = graph.input("scale", [1], dtype);
  const groups = [...lengths].map(([group, length]) => ({
    group,
    parameter: graph.parameter(`parameter.${group}`, [length], dtype),
    gradient: graph.state(`gradient.${group}`, [length], dtype),
    m: graph.state(`adamw.m.${group}`, [length], dtype),
    v: graph.state(`adamw.v.${group}`, [length], dtype),
  }));
  const squares = groups.map(({ gradient }) => sumOfSquares(gradient)).reduce((a, b) => add(a, b));
  const { norm, factor } = clipFactor(squares, scale, options.clip);
  const [beta1, beta2] = options.betas;
  for (const { group, ...operands } of groups) {
    const weightDecay = group === "decay" ? options.weightDecay : 0;
    adamw({ ...operands, factor, step }, { beta1, beta2, eps: options.eps, weightDecay });
    clear(operands.gradient);
  }
  return { norm };
}
