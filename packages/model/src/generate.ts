import type { ModelConfig } from "@slayer/checkpoint";
import { embedding, Graph, matmul, Program, Store } from "@slayer/tensor";
import { forward, forwardInputs, type ForwardOptions } from "./forward.js";
import { type Sampling, sample } from "./sample.js";
import { typesIn } from "./weights.js";

export interface GenerateOptions extends Sampling {
  maxTokens: number;
  /** Generation ends after one of these; default: the config's. */
  stopIds?: readonly number[];
  signal?: AbortSignal;
}

/**
 * Continues `prompt` token by token with a KV cache: one pass over the prompt, then one token at a time. The store holds
 * the weights; the cache lives in it only while this runs. Yields each new id, the stop id included.
 */
export async function* generate(
  config: ModelConfig,
  store: Store,
  prompt: Int32Array,
  options: GenerateOptions,
): AsyncGenerator<number> {
  if (prompt.length === 0) throw new RangeError("generate: the prompt has no tokens; give at least the BOS token");
  const cacheLength = prompt.length + options.maxTokens;
  const stop = new Set(options.stopIds ?? config.eosTokenIds);
  const cache = new Store(store.backend);
  addCache(config, cache, cacheLength);
  let decoder: Decoder | undefined;
  try {
    decoder = await Decoder.compile(config, [store, cache], { batch: 1, length: prompt.length, cacheLength });
    let next = sample(await decoder.logits(prompt, 0, options.signal), options);
    for (let n = 1; ; n++) {
      yield next;
      if (stop.has(next) || n >= options.maxTokens) return;
      if (n === 1) {
        decoder.free();
        decoder = await Decoder.compile(config, [store, cache], { batch: 1, length: 1, cacheLength });
      }
      const logits = await decoder.logits(Int32Array.of(next), prompt.length + n - 1, options.signal);
      next = sample(logits, options);
    }
  } finally {
    decoder?.free();
    cache.free();
  }
}

function addCache({ blocks, kvHeads, headDim }: ModelConfig, cache: Store, length: number): void {
  for (let l = 0; l < blocks; l++) {
    const type = { shape: [1, length, kvHeads * headDim], dtype: "f32" as const };
    cache.addRange([
      { name: `cache.${l}.k`, ...type },
      { name: `cache.${l}.v`, ...type },
    ]);
  }
}

/** A compiled pass over `length` tokens that yields the logits after the last of them. */
class Decoder {
  readonly #config: ModelConfig;
  readonly #options: ForwardOptions;
  readonly #program: Program;

  private constructor(config: ModelConfig, options: ForwardOptions, program: Program) {
    this.#config = config;
    this.#options = options;
    this.#program = program;
  }

  static async compile(config: ModelConfig, stores: readonly Store[], options: ForwardOptions): Promise<Decoder> {
    const graph = new Graph();
    const { final, head } = forward(graph, config, { ...options, weights: typesIn(stores) });
    const last = embedding(final, graph.input("last", [1], "i32")); // [1, D]
    const logits = matmul(last, head, { transposeB: true });
    return new Decoder(config, options, await Program.compile(graph, { logits }, stores));
  }

  async logits(ids: Int32Array, offset: number, signal?: AbortSignal): Promise<Float32Array> {
    const inputs = forwardInputs(this.#config, ids, { ...this.#options, offset });
    await this.#program.run({ ...inputs, last: Int32Array.of(ids.length - 1) }, signal);
    return (await this.#program.read("logits")) as Float32Array;
  }

  free(): void {
    this.#program.free();
  }
}
