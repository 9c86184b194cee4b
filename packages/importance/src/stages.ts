import type { FloatDtype, ModelConfig } from "@slayer/checkpoint";
import { forwardBlock, forwardEmbedding, forwardHead, forwardInputs, typesIn } from "@slayer/model";
import { Graph, lmHeadLoss, Program, rmsnorm, type Store, type Tensor, type TypedArray } from "@slayer/tensor";
import { cleanIds, type SequenceBatch, sumRows } from "./batch.js";
import { Breath } from "./breath.js";
import { ImportanceError } from "./errors.js";
import { type PlacedBlock, StageWeights, type StreamedWeights } from "./weights.js";

/** The residual stream between two blocks, [B·T, D]. */
export type State = Float32Array;

/** A batch with the inputs that the stages share. */
export interface StagedBatch {
  readonly batch: SequenceBatch;
  readonly inputs: Readonly<Record<string, TypedArray>>;
}

/**
 * Runs a model one stage at a time over states kept on the host: the embedding, any block (or the mean of two) on any
 * state, the final norm, and the loss of any state. One program is compiled at a time. Free it after use.
 */
export class Stages {
  readonly #config: ModelConfig;
  readonly #weights: StageWeights;
  readonly #signal: AbortSignal | undefined;
  readonly #breath = new Breath();
  #program: { key: string; store: Store; program: Program } | undefined;

  constructor(
    config: ModelConfig,
    weights: Store | StreamedWeights,
    storedAs: (name: string) => FloatDtype,
    signal: AbortSignal | undefined,
  ) {
    this.#config = config;
    this.#weights = new StageWeights(config, weights, storedAs);
    this.#signal = signal;
  }

  begin(batch: SequenceBatch): StagedBatch {
    return { batch, inputs: forwardInputs(this.#config, cleanIds(batch), batch) };
  }

  /** The state entering block 0. */
  async embed(staged: StagedBatch): Promise<State> {
    const { vocabSize: V, hiddenSize: D } = this.#config;
    const store = await this.#weights.outer(new Map([["model.embed_tokens.weight", [V, D]]]));
    const { input_ids } = staged.inputs;
    return this.#run("embed", staged, store, { input_ids: input_ids! }, (graph) =>
      forwardEmbedding(graph, this.#config, { ...staged.batch, weights: typesIn(store) }),
    );
  }

  /** What block l makes of a state. */
  async block(l: number, staged: StagedBatch, x: State): Promise<State> {
    return this.#runBlock(await this.#weights.block(l), staged, x);
  }

  /** What the mean of blocks l and l + 1 makes of a state. */
  async average(l: number, staged: StagedBatch, x: State): Promise<State> {
    return this.#runBlock(await this.#weights.average(l), staged, x);
  }

  /** What the final norm makes of a state. */
  async norm(staged: StagedBatch, x: State): Promise<State> {
    const { batch, length } = staged.batch;
    const { hiddenSize: D, rmsNormEps } = this.#config;
    const store = await this.#weights.outer(new Map([["model.norm.weight", [D]]]));
    return this.#run("norm", staged, store, { x }, (graph) => {
      const { dtype } = store.type("model.norm.weight");
      return rmsnorm(
        graph.input("x", [batch, length, D], "f32"),
        graph.parameter("model.norm.weight", [D], dtype),
        rmsNormEps,
      );
    });
  }

  /** Summed losses [B] when `x` leaves the last block; targets [B·T]. */
  async loss(staged: StagedBatch, x: State, targets: Int32Array): Promise<Float64Array> {
    const { vocabSize: V, hiddenSize: D, tieWordEmbeddings } = this.#config;
    const head = tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const shapes = new Map<string, number[]>([
      ["model.norm.weight", [D]],
      [head, [V, D]],
    ]);
    const { batch, length } = staged.batch;
    const store = await this.#weights.outer(shapes);
    const nll = await this.#run("loss", staged, store, { x, targets }, (graph) => {
      const state = graph.input("x", [batch, length, D], "f32");
      const { final, head: weight } = forwardHead(graph, this.#config, state, { weights: typesIn(store) });
      return lmHeadLoss(final, weight, graph.input("targets", [batch, length], "i32"));
    });
    const sums = sumRows(nll, batch, length);
    if (sums.every(Number.isFinite)) return sums;
    throw new ImportanceError("a loss is not finite; the weights hold NaN or Infinity, or overflow float32");
  }

  free(): void {
    this.#free();
    this.#weights.free();
  }

  async #runBlock({ store, index }: PlacedBlock, staged: StagedBatch, x: State): Promise<State> {
    const { positions, rope_frequencies } = staged.inputs;
    const inputs = { x, positions: positions!, rope_frequencies: rope_frequencies! };
    const { batch, length } = staged.batch;
    const shape = [batch, length, this.#config.hiddenSize];
    return this.#run(`block ${index}`, staged, store, inputs, (graph) =>
      forwardBlock(graph, this.#config, index, graph.input("x", shape, "f32"), {
        ...staged.batch,
        weights: typesIn(store),
      }),
    );
  }

  async #run(
    stage: string,
    { batch }: StagedBatch,
    store: Store,
    inputs: Readonly<Record<string, TypedArray>>,
    record: (graph: Graph) => Tensor,
  ): Promise<Float32Array> {
    const key = `${stage}, ${batch.batch} × ${batch.length}`;
    if (this.#program?.key !== key || this.#program.store !== store) {
      this.#free();
      const graph = new Graph();
      this.#program = { key, store, program: await Program.compile(graph, { y: record(graph) }, store) };
    }
    const { program } = this.#program;
    await this.#breath.take(this.#signal);
    await program.run(inputs, this.#signal);
    return (await program.read("y")) as Float32Array;
  }

  #free(): void {
    this.#program?.program.free();
    this.#program = undefined;
  }
}
