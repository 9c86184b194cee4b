import {
  Batches,
  boundaryOf,
  type BatchSettings,
  Corpus,
  DocumentReader,
  type Position,
  type Tokenizer,
} from "@slayer/data";
import type { Recipe } from "./recipe.js";

/** The recipe's data, tokenized with the model's tokenizer, as micro-batches from the start or from `position`. */
export class TrainingData {
  readonly corpus: Corpus;
  readonly #settings: BatchSettings;

  private constructor(corpus: Corpus, settings: BatchSettings) {
    this.corpus = corpus;
    this.#settings = settings;
  }

  static async open(recipe: Recipe, tokenizer: Tokenizer, warn: (message: string) => void): Promise<TrainingData> {
    const corpus = await Corpus.build(documents(recipe.data, warn), tokenizer);
    const { batch, sequence_length: sequenceLength, packing: mode, seed } = recipe;
    return new TrainingData(corpus, {
      sequenceLength,
      mode,
      boundary: boundaryOf(tokenizer),
      shuffle: { documents: true, sequences: true },
      seed,
      batchSize: batch.micro ?? batch.sequences,
    });
  }

  batches(position?: Position): Batches {
    return position ? Batches.resume(this.corpus, this.#settings, position) : new Batches(this.corpus, this.#settings);
  }

  /** Optimizer steps that the recipe's steps, epochs or tokens come to. */
  steps({ steps, epochs, tokens, batch, sequence_length }: Recipe): number {
    if (steps !== undefined) return steps;
    if (tokens !== undefined) return Math.max(1, Math.floor(tokens / (batch.sequences * sequence_length)));
    return Math.max(1, Math.floor((epochs! * this.batches().sequencesPerEpoch) / batch.sequences));
  }
}

async function* documents(sources: Recipe["data"], warn: (message: string) => void) {
  for (const { path, text } of sources) {
    const reader = new DocumentReader([path], { field: text });
    yield* reader;
    if (reader.badRecords > 0) {
      const { file, line, reason } = reader.bad[0]!;
      warn(`${path}: ${reader.badRecords} bad records left out, the first at ${file}:${line}: ${reason}`);
    }
  }
}

/** A held-out file as one run of ids, each document with the tokenizer's own post-processing, and its size in UTF-8. */
export async function heldOutIds(path: string, tokenizer: Tokenizer): Promise<{ ids: Int32Array; bytes: number }> {
  const parts: Int32Array[] = [];
  let bytes = 0;
  for await (const { text } of new DocumentReader([path])) {
    parts.push(tokenizer.encode(text));
    bytes += Buffer.byteLength(text);
  }
  const ids = new Int32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, bytes };
}
