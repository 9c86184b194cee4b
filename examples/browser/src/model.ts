import { Checkpoint, type FileSource, type ModelConfig } from "@slayer/checkpoint";
import { DataError, Tokenizer } from "@slayer/data";
import { angularDistances, type AngularScores } from "@slayer/importance";
import { generate, loadWeights } from "@slayer/model";
import { type Backend, Store } from "@slayer/tensor";
import { Training } from "./training.js";
import { batches, windowsOf } from "./windows.js";

/** The largest tokenizer.json in use have about 35 MB. */
const MAX_TOKENIZER_BYTES = 128 * 2 ** 20;

/** A checkpoint whose weights lie on a backend, and what the page does with it. */
export class Model {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly #checkpoint: Checkpoint;
  #store: Store;
  #training: Training | undefined;

  private constructor(checkpoint: Checkpoint, tokenizer: Tokenizer, store: Store) {
    this.config = checkpoint.config;
    this.tokenizer = tokenizer;
    this.#checkpoint = checkpoint;
    this.#store = store;
  }

  /** Reads a checkpoint directory. @throws CheckpointError, DataError */
  static async open(source: FileSource, backend: Backend, onProgress?: (share: number) => void): Promise<Model> {
    const checkpoint = await Checkpoint.open(source);
    const tokenizer = Tokenizer.parse(await textOf(source, "tokenizer.json"));
    const store = new Store(backend);
    try {
      await loadWeights(checkpoint, store, { onProgress: (done, total) => onProgress?.(done / total) });
    } catch (error) {
      store.free();
      throw error;
    }
    return new Model(checkpoint, tokenizer, store);
  }

  /** How far each block turns the residual stream on this text. */
  async distances(text: string): Promise<AngularScores> {
    return angularDistances(this.config, this.#store, batches(this.#windows(text)));
  }

  /** Continues a prompt, greedily; yields the text as it comes. */
  async *continue(prompt: string, maxTokens: number, signal?: AbortSignal): AsyncGenerator<string> {
    const ids = this.tokenizer.encode(prompt);
    const stream = this.tokenizer.decodeStream({ skipSpecialTokens: true });
    const options = { maxTokens, ...(signal && { signal }) };
    for await (const id of generate(this.config, this.#store, ids, options)) yield stream.push(id);
    yield stream.flush();
  }

  /**
   * Trains the shallow half of the blocks on a text; yields each step's loss in nats per token. Called again, it goes on from
   * the weights and moments it left.
   */
  async *train(text: string, steps: number, lr: number, signal?: AbortSignal): AsyncGenerator<number> {
    const windows = this.#windows(text);
    if (this.#training === undefined) {
      const training = await Training.create(this.config, this.#store.backend);
      await loadWeights(this.#checkpoint, training.store);
      this.#store.free();
      this.#store = training.store;
      this.#training = training;
    }
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted();
      yield await this.#training.step(windows, lr);
    }
  }

  free(): void {
    this.#training?.free();
    this.#store.free();
  }

  #windows(text: string): Int32Array[] {
    return windowsOf(this.tokenizer.encode(text), this.config);
  }
}

async function textOf(source: FileSource, name: string): Promise<string> {
  const path = source.path(name);
  const file = await source.open(path);
  if (file === undefined)
    throw new DataError("missing-file", "choose the whole directory of the model", { file: path });
  if (file.size > MAX_TOKENIZER_BYTES) {
    const problem = `expected at most ${MAX_TOKENIZER_BYTES} bytes, found ${file.size}`;
    throw new DataError("too-large", problem, { file: path });
  }
  const bytes = new Uint8Array(file.size);
  await file.read(bytes, 0);
  await file.close();
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}
