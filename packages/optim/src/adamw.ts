import {
  adamw,
  add,
  clear,
  clipFactor,
  copy,
  Graph,
  type Plan,
  Program,
  type Store,
  sumOfSquares,
  type Tensor,
  type TensorType,
} from "@slayer/tensor";
import { type NamedType, type ParameterGroup, parameterGroups } from "./groups.js";

export interface AdamWOptions {
  betas: readonly [number, number];
  eps: number;
  /** Decoupled weight decay. Applies to matrices only: norms and biases (tensors of one dimension) are not decayed. */
  weightDecay: number;
  /** Bound on the global gradient norm; 0: none. */
  clip: number;
  /** Other groups than matrices and the rest; see `parameterGroups`. */
  groups?: readonly ParameterGroup[];
  /** The model computes with bf16 copies of the parameters; the f32 masters are what is updated and kept. */
  working?: "bf16";
  /**
   * The parameters are stored in bf16 alone, and each update is rounded stochastically, with bits that this seed, the step and the element
   * decide. Instead of `working`, with 4 bytes less for each parameter.
   */
  stochastic?: { seed: number };
  /** Gradients take the place of those before (`accumulateGradients` with `overwrite`): an update need not clear them. */
  overwrite?: boolean;
}

/** The tensors kept beside each trainable parameter; each kind lies in flat ranges of its own. */
const KINDS = ["gradient", "adamw.m", "adamw.v"] as const;

/** Name in the store of what is kept beside a parameter: its gradient, a moment of AdamW, its f32 master, … */
export function companionName(kind: string, parameter: string): string {
  return `${kind}.of.${parameter}`;
}

/**
 * AdamW over a set of trainable parameters. They lie one after the other in memory, and so do their gradients and moments, so
 * that an update is one launch over flat ranges however many tensors there are.
 */
export class AdamW {
  /** Holds the trainable parameters (under their own names), gradients, moments, and masters where those differ. */
  readonly store: Store;
  readonly trainable: readonly NamedType[];
  readonly groups: readonly ParameterGroup[];
  /** Elements of all ranges of one kind, padding included. */
  readonly elements: number;
  readonly #options: AdamWOptions;
  readonly #programs: Programs;

  private constructor(
    store: Store,
    trainable: readonly NamedType[],
    groups: readonly ParameterGroup[],
    elements: number,
    options: AdamWOptions,
    programs: Programs,
  ) {
    this.store = store;
    this.trainable = trainable;
    this.groups = groups;
    this.elements = elements;
    this.#options = options;
    this.#programs = programs;
  }

  /** Adds parameters, gradients and moments to `store`, zeroed: load the parameters afterwards. */
  static async create(store: Store, trainable: readonly NamedType[], options: AdamWOptions): Promise<AdamW> {
    if (trainable.length === 0) throw new RangeError("AdamW: nothing is trainable");
    const { weightDecay, working, stochastic } = options;
    if (working && stochastic)
      throw new RangeError("AdamW: working copies have masters; stochastic rounding is for none");
    const stored = stochastic ? "bf16" : working;
    const groups = options.groups ?? parameterGroups(trainable, { lr: 1, weightDecay });
    const lengths = groups.map(({ name, parameters }) => {
      const range = (kind: string, types: NamedType[]) => store.addRange(types, `${kind}.${name}`);
      const companions = (kind: string) =>
        parameters.map((type) => ({ ...type, name: companionName(kind, type.name) }));
      const length = range(
        "parameter",
        parameters.map((type) => ({ ...type, ...(stored && { dtype: stored }) })),
      );
      if (working) range("master", companions("master"));
      for (const kind of KINDS) range(kind, companions(kind));
      return length;
    });
    const dtype = trainable[0]!.dtype;
    const compiled: Program[] = [];
    const compile = async (...[graph, outputs]: [Graph, Record<string, Tensor>?]) => {
      compiled.push(await Program.compile(graph, outputs ?? {}, store));
      return compiled.at(-1)!;
    };
    try {
      const programs = {
        norm: await compile(...recordNorm(groups, lengths, dtype, options.clip)),
        update: await compile(recordUpdate(groups, lengths, dtype, options)),
        discard: await compile(recordDiscard(groups, lengths, dtype)),
        round: working && (await compile(recordRounding(groups, lengths, dtype))),
      };
      const elements = lengths.reduce((a, b) => a + b, 0);
      return new AdamW(store, trainable, groups, elements, options, programs);
    } catch (error) {
      for (const program of compiled) program.free();
      throw error;
    }
  }

  /** What one step runs. */
  get plans(): readonly Plan[] {
    return [this.#programs.norm.plan, this.#programs.update.plan];
  }

  /** Name in the store of the values that are updated and kept: the parameter itself, or its f32 master. */
  masterName(parameter: string): string {
    return this.#options.working ? companionName("master", parameter) : parameter;
  }

  /** Likewise of a group's flat range. */
  masterRange({ name }: ParameterGroup): string {
    return `${this.#options.working ? "master" : "parameter"}.${name}`;
  }

  /** Rounds the masters into the working copies, after they were written from outside. Without masters, nothing. */
  async roundMasters(): Promise<void> {
    await this.#programs.round?.run();
  }

  /** Norm of the accumulated gradients times `scale` (1 / scored tokens), before clipping. Changes nothing. */
  async norm(scale: number): Promise<number> {
    await this.#programs.norm.run({ scale: this.#values([scale]) });
    return (await this.#programs.norm.read("norm"))[0]!;
  }

  /** What the update multiplies the accumulated gradients with: the scale, and the clipping. After `norm`. */
  async factor(): Promise<number> {
    return (await this.#programs.norm.read("factor"))[0]!;
  }

  /**
   * One update with the gradients as `norm` scaled and clipped them; they are zero afterwards, unless they are overwritten. `step` counts
   * from 0.
   */
  async update(step: number, lr: number): Promise<void> {
    const { norm, update } = this.#programs;
    const [beta1, beta2] = this.#options.betas;
    const factor = await norm.read("factor");
    const count = this.#options.stochastic ? [step + 1] : [];
    const steps = this.groups.map(({ name, lrScale }) => [
      `step.${name}`,
      this.#values([lr * lrScale, 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1), ...count]),
    ]);
    await update.run({ factor, ...(Object.fromEntries(steps) as Record<string, Float32Array>) });
  }

  /** `norm` and `update` in one. Resolves to the gradient norm before clipping. */
  async step(step: number, lr: number, scale: number): Promise<number> {
    const norm = await this.norm(scale);
    await this.update(step, lr);
    return norm;
  }

  /** Forgets the accumulated gradients. */
  async discard(): Promise<void> {
    await this.#programs.discard.run();
  }

  /** Frees the programs' own memory; what lies in the store is the store's. */
  free(): void {
    for (const program of Object.values(this.#programs)) program?.free();
  }

  #values(values: number[]): Float32Array | Float64Array {
    return this.trainable[0]!.dtype === "f64" ? Float64Array.from(values) : Float32Array.from(values);
  }
}

interface Programs {
  norm: Program;
  update: Program;
  discard: Program;
  round: Program | undefined;
}

type DType = TensorType["dtype"];

function recordNorm(
  groups: readonly ParameterGroup[],
  lengths: readonly number[],
  dtype: DType,
  clip: number,
): [Graph, { norm: Tensor; factor: Tensor }] {
  const graph = new Graph();
  const squares = groups
    .map(({ name }, i) => sumOfSquares(graph.state(`gradient.${name}`, [lengths[i]!], dtype)))
    .reduce((a, b) => add(a, b));
  return [graph, clipFactor(squares, graph.input("scale", [1], dtype), clip)];
}

function recordUpdate(
  groups: readonly ParameterGroup[],
  lengths: readonly number[],
  dtype: DType,
  { betas: [beta1, beta2], eps, working, stochastic, overwrite }: AdamWOptions,
): Graph {
  const graph = new Graph();
  const factor = graph.input("factor", [1], dtype);
  groups.forEach(({ name, weightDecay }, i) => {
    const shape = [lengths[i]!];
    const updated = `${working ? "master" : "parameter"}.${name}`;
    const parameter = graph.parameter(updated, shape, stochastic ? "bf16" : dtype);
    const gradient = graph.state(`gradient.${name}`, shape, dtype);
    const m = graph.state(`adamw.m.${name}`, shape, dtype);
    const v = graph.state(`adamw.v.${name}`, shape, dtype);
    const step = graph.input(`step.${name}`, [stochastic ? 4 : 3], dtype);
    // Elements of two groups have the same numbers, and must not have the same bits.
    const seed = stochastic && { seed: stochastic.seed + i };
    const copied = working && { working: graph.parameter(`parameter.${name}`, shape, working) };
    adamw({ parameter, gradient, m, v, factor, step, ...copied }, { beta1, beta2, eps, weightDecay, ...seed });
    if (!overwrite) clear(gradient);
  });
  return graph;
}

function recordDiscard(groups: readonly ParameterGroup[], lengths: readonly number[], dtype: DType): Graph {
  const graph = new Graph();
  groups.forEach(({ name }, i) => clear(graph.state(`gradient.${name}`, [lengths[i]!], dtype)));
  return graph;
}

function recordRounding(groups: readonly ParameterGroup[], lengths: readonly number[], dtype: DType): Graph {
  const graph = new Graph();
  groups.forEach(({ name }, i) => {
    const master = graph.parameter(`master.${name}`, [lengths[i]!], dtype);
    copy(graph.parameter(`parameter.${name}`, [lengths[i]!], "bf16"), master);
  });
  return graph;
}
