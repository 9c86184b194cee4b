import type { FloatDtype, ModelConfig } from "@slayer/checkpoint";
import { forwardBlock, forwardEmbedding, forwardHead, forwardInputs, typesIn } from "@slayer/model";
import { Graph, lmHeadLoss, Program, type Store, type Tensor, type TypedArray } from "@slayer/tensor";
import { cleanIds, type SequenceBatch, sumRows } from "./batch.js";
import { ImportanceError } from "./errors.js";
import { type PlacedBlock, StageWeights, type StreamedWeights } from "./weights.js";

/** The residual stream between two blocks, [B·T, D]. */
export type State = Float32Array;

/**
 * Runs a model one stage at a time over states kept on the host: the embedding, any block (or the mean of two) on any
 * state, and the loss of any state. One program is compiled at a time. Free it after use.
 */
export class Stages {
  readonly #config: ModelConfig;
  readonly #weights: StageWeights;
  readonly #signal: AbortSignal | undefined;
  #program: { key: string; store: Store; program: Program } | undefined;
  #batch: SequenceBatch = { ids: new Int32Array(), batch: 0, length: 0 };
  #inputs: Record<string, TypedArray> = {};

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

  /** The state entering block 0. The other stages run on this batch until the next one. */
  async embed(batch: SequenceBatch): Promise<State> {
    this.#batch = batch;
    this.#inputs = forwardInputs(this.#config, cleanIds(batch), batch);
    const { vocabSize: V, hiddenSize: D } = this.#config;
    const store = await this.#weights.outer(new Map([["model.embed_tokens.weight", [V, D]]]));
    const { input_ids } = this.#inputs;
    return this.#run("embed", store, { input_ids: input_ids! }, (graph) =>
      forwardEmbedding(graph, this.#config, { ...batch, weights: typesIn(store) }),
    );
  }

  /** What block l makes of a state. */
  async block(l: number, x: State): Promise<State> {
    return this.#runBlock(await this.#weights.block(l), x);
  }

  /** What the mean of blocks l and l + 1 makes of a state. */
  async average(l: number, x: State): Promise<State> {
    return this.#runBlock(await this.#weights.average(l), x);
  }

  /** Summed losses [B] when `x` leaves the last block; targets [B·T]. */
  async loss(x: State, targets: Int32Array): Promise<Float64Array> {
    const { vocabSize: V, hiddenSize: D, tieWordEmbeddings } = this.#config;
    const head = tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const shapes = new Map<string, number[]>([
      ["model.norm.weight", [D]],
      [head, [V, D]],
    ]);
    const { batch, length } = this.#batch;
    const store = await this.#weights.outer(shapes);
    const nll = await this.#run("loss", store, { x, targets }, (graph) => {
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

  async #runBlock({ store, index }: PlacedBlock, x: State): Promise<State> {
    const { positions, rope_frequencies } = this.#inputs;
    const inputs = { x, positions: positions!, rope_frequencies: rope_frequencies! };
    const { batch, length } = this.#batch;
    const shape = [batch, length, this.#config.hiddenSize];
    return this.#run(`block ${index}`, store, inputs, (graph) =>
      forwardBlock(graph, this.#config, index, graph.input("x", shape, "f32"), {
        ...this.#batch,
        weights: typesIn(store),
      }),
    );
  }

  async #run(
    stage: string,
    store: Store,
    inputs: Record<string, TypedArray>,
    record: (graph: Graph) => Tensor,
  ): Promise<Float32Array> {
    const key = `${stage}, ${this.#batch.batch} × ${this.#batch.length}`;
    if (this.#program?.key !== key || this.#program.store !== store) {
      this.#free();
      const graph = new Graph();
      this.#program = { key, store, program: await Program.compile(graph, { y: record(graph) }, store) };
    }
    const { program } = this.#program;
    await program.run(inputs, this.#signal);
    return (await program.read("y")) as Float32Array;
  }

  #free(): void {
    this.#program?.program.free();
    this.#program = undefined;
  }
}
