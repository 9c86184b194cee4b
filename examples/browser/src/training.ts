import { blockOf, expectedTensors, type ModelConfig } from "@slayer/checkpoint";
import { forward, forwardInputs } from "@slayer/model";
import { accumulateGradients, AdamW } from "@slayer/optim";
import { type Backend, Graph, lmHeadLoss, Program, Store, sum } from "@slayer/tensor";
import { joined, TOGETHER, windowLength } from "./windows.js";

/** The step that training repeats, its weights and AdamW's moments. */
export class Training {
  /** All weights of the model, under the checkpoint's names. */
  readonly store: Store;
  readonly #config: ModelConfig;
  readonly #optimizer: AdamW;
  readonly #program: Program;
  #steps = 0;

  private constructor(config: ModelConfig, store: Store, optimizer: AdamW, program: Program) {
    this.#config = config;
    this.store = store;
    this.#optimizer = optimizer;
    this.#program = program;
  }

  /** Lays out the memory and compiles the step; the weights are zero and must be loaded into `store`. */
  static async create(config: ModelConfig, backend: Backend): Promise<Training> {
    const store = new Store(backend);
    try {
      return await Training.#in(store, config);
    } catch (error) {
      store.free();
      throw error;
    }
  }

  static async #in(store: Store, config: ModelConfig): Promise<Training> {
    const weights = Array.from(expectedTensors(config), ([name, shape]) => ({ name, shape, dtype: "f32" as const }));
    const shallow = Math.ceil(config.blocks / 2);
    const trainable = weights.filter(({ name }) => (blockOf(name)?.block ?? Infinity) < shallow);
    const options = { betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0, clip: 1 } as const;
    const optimizer = await AdamW.create(store, trainable, options);
    for (const weight of weights) if (!store.has(weight.name)) store.add(weight);

    const graph = new Graph();
    const shape = { batch: TOGETHER, length: windowLength(config) };
    const { final, head } = forward(graph, config, shape);
    const loss = sum(lmHeadLoss(final, head, graph.input("targets", [shape.batch, shape.length], "i32")));
    accumulateGradients(loss, trainable);
    return new Training(config, store, optimizer, await Program.compile(graph, { loss }, store));
  }

  /** One update on the next of `windows`, which come again and again. Resolves to the loss before it, nats per token. */
  async step(windows: readonly Int32Array[], lr: number): Promise<number> {
    const first = this.#steps * TOGETHER;
    const rows = Array.from({ length: TOGETHER }, (_, i) => windows[(first + i) % windows.length]!);
    const ids = joined(rows.map((row) => row.subarray(0, -1)));
    const targets = joined(rows.map((row) => row.subarray(1)));
    const shape = { batch: TOGETHER, length: windowLength(this.#config) };
    await this.#program.run({ ...forwardInputs(this.#config, ids, shape), targets });
    const loss = (await this.#program.read("loss"))[0]! / targets.length;
    await this.#optimizer.step(this.#steps, lr, 1 / targets.length);
    this.#steps++;
    return loss;
  }

  /** Frees all but the store. */
  free(): void {
    this.#program.free();
    this.#optimizer.free();
  }
}
