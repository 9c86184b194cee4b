import type { ModelConfig } from "@slayer/checkpoint";
import { forward, forwardInputs, typesIn } from "@slayer/model";
import { embedding, Graph, Program, type Store, type Tensor } from "@slayer/tensor";
import { cleanIds, type SequenceBatch } from "./batch.js";

export interface StateOptions {
  /** Which tokens' states are read: each sequence's last valid one, or all. */
  readonly token: "last" | "mean";
  /** What leaves the last block: the residual stream itself, or what the final norm makes of it. */
  readonly final: "raw" | "normed";
}

/** Runs batches through a model and reads the residual stream between blocks. Free it after use. */
export class StateReader {
  readonly #config: ModelConfig;
  readonly #store: Store;
  readonly #options: StateOptions;
  /** The program for the shape of the last batch: one at a time, so that memory does not grow with the shapes met. */
  #current: { shape: string; program: Program } | undefined;

  constructor(config: ModelConfig, store: Store, options: StateOptions) {
    this.#config = config;
    this.#store = store;
    this.#options = options;
  }

  /** One forward pass for each batch. Of each, L + 1 states f32, [B, D] for "last" and [B·T, D] for "mean". */
  async read(batches: readonly SequenceBatch[], signal?: AbortSignal): Promise<Float32Array[][]> {
    const all: Float32Array[][] = [];
    for (const batch of batches) all.push(await this.#readOne(batch, signal));
    return all;
  }

  async #readOne(batch: SequenceBatch, signal: AbortSignal | undefined): Promise<Float32Array[]> {
    const { batch: B, length: T, lengths } = batch;
    const program = await this.#programFor(B, T);
    const valid = (b: number) => lengths?.[b] ?? T;
    const last = Int32Array.from({ length: B }, (_, b) => b * T + valid(b) - 1);
    const inputs = forwardInputs(this.#config, cleanIds(batch), { batch: B, length: T });
    await program.run(this.#options.token === "last" ? { ...inputs, last } : inputs, signal);
    const states: Float32Array[] = [];
    for (let l = 0; l <= this.#config.blocks; l++) states.push((await program.read(`state.${l}`)) as Float32Array);
    return states;
  }

  free(): void {
    this.#current?.program.free();
    this.#current = undefined;
  }

  async #programFor(batch: number, length: number): Promise<Program> {
    const shape = `${batch},${length}`;
    if (this.#current?.shape === shape) return this.#current.program;
    this.free();
    const graph = new Graph();
    const { residual, final } = forward(graph, this.#config, { batch, length, weights: typesIn(this.#store) });
    const states = this.#options.final === "raw" ? residual : [...residual.slice(0, -1), final];
    // Gathering one row per sequence in the graph lets the planner reuse the residual streams' memory block by block.
    const last = this.#options.token === "last" ? graph.input("last", [batch], "i32") : undefined;
    const output = (state: Tensor) => (last ? embedding(state, last) : state);
    const outputs = Object.fromEntries(states.map((state, l) => [`state.${l}`, output(state)]));
    const program = await Program.compile(graph, outputs, this.#store);
    this.#current = { shape, program };
    return program;
  }
}
