import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { DataError } from "../errors.js";
import { emptyRows, rowOf } from "../packing/batch-rows.js";
import { type Batch, type BatchSettings, checkBatchSize } from "../packing/batches.js";
import { furthestBehind, sharesOf, type SourcePosition } from "../packing/mixture.js";
import { checkPosition, expectSame, type Position } from "../packing/position.js";
import { checkSettings, type PackingSettings } from "../packing/settings.js";
import { formatOf } from "../sources/format.js";
import { type Encoder, threadEncoder } from "../store/encoder-pool.js";
import type { SourceSpec } from "../store/source-spec.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { DocumentStream } from "./document-stream.js";
import { BEGINNING, type StreamPlace, TokenStream } from "./token-stream.js";

export interface StreamedSource {
  /** Their files are read one after another. */
  readonly specs: readonly SourceSpec[];
  readonly weight: number;
}

/** As of `Batches`; nothing is shuffled, and there is no end. Mode "whole" would have to know all documents. */
export interface StreamSettings extends Pick<BatchSettings, "sequenceLength" | "boundary" | "batchSize"> {
  readonly mode: "concatenate" | "documents";
}

export interface StreamOptions {
  readonly tokenizer: Tokenizer;
  /** Where the tokenizer's files are; threads load it from there. */
  readonly directory: string;
  /** The share of bad records (0 … 1) above which it is an error: after the first pass, and before it from the thousandth record on. Default 1: never. */
  readonly maxBadShare?: number;
}

/** `corpus` of a source names its files' sizes and formats, and the tokenizer: their bytes are not read ahead of use. */
export interface StreamPosition extends Position {
  readonly sources: readonly (SourcePosition & { readonly place: StreamPlace })[];
}

interface Source {
  readonly corpus: string;
  readonly weight: number;
  readonly documents: DocumentStream;
  readonly text: TokenStream;
  sequences: number;
  tokens: number;
}

/**
 * Batches of texts that are read and tokenized as they are used, on threads, some way ahead; nothing is written. The sequences are those
 * of `Batches` with neither documents nor sequences shuffled: files in the order given, documents in theirs, again and again.
 * Close it after use.
 */
export class StreamedBatches {
  readonly #sources: readonly Source[];
  readonly #shares: readonly number[];
  readonly #packing: PackingSettings;
  readonly #batchSize: number;
  readonly #encoder: Encoder;

  private constructor(
    sources: readonly Source[],
    shares: readonly number[],
    packing: PackingSettings,
    batchSize: number,
    encoder: Encoder,
  ) {
    this.#sources = sources;
    this.#shares = shares;
    this.#packing = packing;
    this.#batchSize = batchSize;
    this.#encoder = encoder;
  }

  /**
   * From the beginning, or on from a position: the same sequences follow, and nothing before it is tokenized again.
   * @throws DataError `missing-file`, `bad-option`, `unsupported`, `bad-position`, `position-mismatch`
   */
  static async open(
    sources: readonly StreamedSource[],
    settings: StreamSettings,
    { tokenizer, directory, maxBadShare = 1 }: StreamOptions,
    position?: Position,
  ): Promise<StreamedBatches> {
    const { batchSize, ...packing } = settings;
    checkBatchSize(batchSize, settings.sequenceLength);
    const shares = sharesOf(sources.map(({ weight }) => weight));
    const checked = checkSettings({ ...packing, shuffle: { documents: false, sequences: false }, seed: 0 });
    const corpora = await Promise.all(sources.map(({ specs }) => identityOf(specs, tokenizer)));
    const before = position && checkPlaces(checkPosition(position));
    if (before) {
      const now = sources.map(({ weight }, i) => ({ corpus: corpora[i]!, weight, sequences: 0, tokens: 0 }));
      expectSame(before, { version: 2, packing: checked, sources: now });
    }
    const spec = { directory, tokenizerHash: tokenizer.hash };
    // Half of the processors at most: the others have a model to train.
    const encoder = threadEncoder(spec, Math.min(sources.length, Math.ceil(availableParallelism() / 2)));
    const opened = sources.map(({ specs, weight }, i): Source => {
      const { sequences = 0, tokens = 0, place = BEGINNING } = before?.sources[i] ?? {};
      const documents = new DocumentStream(specs, encoder, place, maxBadShare);
      const text = new TokenStream(documents, checked, place);
      return { corpus: corpora[i]!, weight, documents, text, sequences, tokens };
    });
    return new StreamedBatches(opened, shares, checked, batchSize, encoder);
  }

  /** The next batch, in arrays of its own. @throws DataError what reading and encoding throw; `bad-records`, `empty-corpus` */
  async next(): Promise<Batch> {
    const { sequenceLength } = this.#packing;
    const arrays = emptyRows(this.#batchSize, this.#packing);
    const sources: number[] = [];
    for (let row = 0; row < this.#batchSize; row++) {
      const index = furthestBehind(this.#shares, this.#sources, sequenceLength);
      const source = this.#sources[index]!;
      await source.text.writeSequence(rowOf(arrays, row, sequenceLength));
      source.sequences++;
      source.tokens += sequenceLength;
      sources.push(index);
    }
    return { batchSize: this.#batchSize, sequenceLength, ...arrays, sequences: this.#batchSize, sources };
  }

  /** Plain JSON. To be asked between two calls of `next`. */
  position(): StreamPosition {
    const sources = this.#sources.map(({ corpus, weight, sequences, tokens, text: { place } }) => ({
      ...{ corpus, weight, sequences, tokens, place },
    }));
    return { version: 2, packing: this.#packing, sources };
  }

  /** Whole passes over each source so far. */
  epochs(): number[] {
    return this.#sources.map(({ text }) => text.place.pass);
  }

  /** What was found in each source, in its first pass since this was opened. */
  reports(): DocumentStream["report"][] {
    return this.#sources.map(({ documents }) => documents.report);
  }

  async close(): Promise<void> {
    await this.#encoder.close();
    for (const { documents } of this.#sources) await documents.close();
  }
}

async function identityOf(specs: readonly SourceSpec[], tokenizer: Tokenizer): Promise<string> {
  const files = specs.flatMap(({ files: paths, read, format = "auto" }) =>
    paths.map(async (file) => {
      const info = await stat(file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") throw new DataError("missing-file", "no such file", { file });
        throw error;
      });
      if (read.kind !== "text") throw new DataError("unsupported", "conversations cannot be streamed", { file });
      return [formatOf(file, format), read.field, info.size];
    }),
  );
  const all = JSON.stringify(["slayer stream 1", tokenizer.hash, await Promise.all(files)]);
  return createHash("sha256").update(all).digest("hex");
}

function checkPlaces(position: Position): StreamPosition {
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  const isPlace = (place: StreamPlace | undefined): boolean =>
    typeof place === "object" && [place.pass, place.file, place.line, place.inside].every(isCount);
  const { sources } = position as StreamPosition;
  if (sources.every(({ place }) => isPlace(place))) return position as StreamPosition;
  throw new DataError("bad-position", "expected a position in a stream; this is one in tokenized files");
}
