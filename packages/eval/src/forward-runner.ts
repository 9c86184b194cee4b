import type { ModelConfig } from "@slayer/checkpoint";
import { type Adapt, type Forward, forward, forwardInputs, typesIn } from "@slayer/model";
import { Graph, Program, type Store, type Tensor, type TypedArray } from "@slayer/tensor";
import type { WindowBatch } from "./windows.js";

/** What is computed from a forward pass; inputs beyond the model's may be declared in the graph. */
export type Head = (graph: Graph, model: Forward, shape: { batch: number; length: number }) => Tensor;

/** Runs batches of windows through a model and reads one output. Free it after use. */
export class ForwardRunner {
  readonly #config: ModelConfig;
  readonly #store: Store | readonly Store[];
  readonly #head: Head;
  readonly #adapt: Adapt | undefined;
  /** The program for the last shape: one at a time, so that memory is that of one. */
  #current: { shape: string; program: Program } | undefined;

  constructor(config: ModelConfig, store: Store | readonly Store[], head: Head, adapt?: Adapt) {
    this.#config = config;
    this.#store = store;
    this.#head = head;
    this.#adapt = adapt;
  }

  async run(
    { ids, batch, length }: WindowBatch,
    inputs: Readonly<Record<string, TypedArray>> = {},
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    signal?.throwIfAborted();
    const program = await this.#programFor(batch, length);
    await program.run({ ...forwardInputs(this.#config, ids, { batch, length }), ...inputs }, signal);
    return (await program.read("output")) as Float32Array;
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
    const adapt = this.#adapt && { adapt: this.#adapt };
    const model = forward(graph, this.#config, { batch, length, weights: typesIn(this.#store), ...adapt });
    const output = this.#head(graph, model, { batch, length });
    const program = await Program.compile(graph, { output }, this.#store);
    this.#current = { shape, program };
    return program;
  }
}
