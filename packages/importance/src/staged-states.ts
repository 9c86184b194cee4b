import type { FloatDtype, ModelConfig } from "@slayer/checkpoint";
import type { SequenceBatch } from "./batch.js";
import { type State, Stages } from "./stages.js";
import type { StateOptions } from "./states.js";
import type { StreamedWeights } from "./weights.js";

interface StagedOptions extends StateOptions {
  readonly storedAs: (name: string) => FloatDtype;
}

/** Reads the residual stream between blocks as `StateReader` does, with one block's weights on the device at a time. */
export class StagedStates {
  readonly #config: ModelConfig;
  readonly #weights: StreamedWeights;
  readonly #options: StagedOptions;
  #stages: Stages | undefined;

  constructor(config: ModelConfig, weights: StreamedWeights, options: StagedOptions) {
    this.#config = config;
    this.#weights = weights;
    this.#options = options;
  }

  /** Of each batch, L + 1 states f32, [B, D] for "last" and [B·T, D] for "mean". */
  async read(batches: readonly SequenceBatch[], signal?: AbortSignal): Promise<Float32Array[][]> {
    const stages = (this.#stages ??= new Stages(this.#config, this.#weights, this.#options.storedAs, signal));
    const live = batches.map((batch) => ({
      staged: stages.begin(batch),
      x: new Float32Array() as State,
      read: [] as State[],
    }));
    for (const one of live) {
      one.x = await stages.embed(one.staged);
      one.read.push(this.#measured(one.staged.batch, one.x));
    }
    for (let l = 0; l < this.#config.blocks; l++) {
      for (const one of live) {
        one.x = await stages.block(l, one.staged, one.x);
        one.read.push(this.#measured(one.staged.batch, one.x));
      }
    }
    if (this.#options.final === "normed") {
      for (const { staged, x, read } of live)
        read[this.#config.blocks] = this.#measured(staged.batch, await stages.norm(staged, x));
    }
    return live.map(({ read }) => read);
  }

  free(): void {
    this.#stages?.free();
    this.#stages = undefined;
  }

  /** Of a state [B·T, D], the rows that are asked for. */
  #measured({ batch: B, length: T, lengths }: SequenceBatch, x: State): State {
    if (this.#options.token === "mean") return x;
    const D = this.#config.hiddenSize;
    const rows = new Float32Array(B * D);
    for (let b = 0; b < B; b++) {
      const last = b * T + (lengths?.[b] ?? T) - 1;
      rows.set(x.subarray(last * D, (last + 1) * D), b * D);
    }
    return rows;
  }
}
