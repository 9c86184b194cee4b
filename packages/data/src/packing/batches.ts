import { DataError } from "../errors.js";
import { isObject } from "../tokenizer/format.js";
import type { Corpus } from "./corpus.js";
import { NOT_SCORED, PackedEpoch, PADDING, sequencesPerEpoch } from "./packed-epoch.js";
import { checkSettings, type PackingSettings } from "./settings.js";

export interface BatchSettings extends PackingSettings {
  /** B, sequences per batch. */
  readonly batchSize: number;
  /** Passes over the corpus; without it there is no end. */
  readonly epochs?: number;
}

/** All arrays are [B, T], row-major. */
export interface Batch {
  readonly batchSize: number;
  readonly sequenceLength: number;
  readonly inputIds: Int32Array;
  /** The id that follows, -100 where it is not scored. */
  readonly targets: Int32Array;
  /** In "concatenate" mode 0 … T - 1; in "documents" mode from 0 in every segment. */
  readonly positions: Int32Array;
  /** Segment within the sequence, from 0; always 0 in "concatenate" mode; -1 for padding. */
  readonly segments: Int32Array;
  /** Rows that hold data. Less than B only in the very last batch; the other rows are padding. */
  readonly sequences: number;
  /** Epoch, from 0, of the first row. A batch may run on into the next. */
  readonly epoch: number;
}

/** Where to go on, as plain JSON. */
export interface Position {
  readonly version: 1;
  /** Corpus.hash. */
  readonly corpus: string;
  readonly packing: PackingSettings;
  /** Sequences given so far, all epochs together. */
  readonly sequences: number;
}

/** Batches of packed sequences, epoch after epoch. The n-th sequence depends on corpus, settings and n only. */
export class Batches {
  readonly sequencesPerEpoch: number;
  readonly #corpus: Corpus;
  readonly #packing: PackingSettings;
  readonly #batchSize: number;
  readonly #end: number;
  #sequences = 0;
  #epoch = -1;
  #packed: PackedEpoch | undefined;

  /** @throws DataError `bad-option` */
  constructor(corpus: Corpus, settings: BatchSettings) {
    const { batchSize, epochs } = settings;
    this.#corpus = corpus;
    this.#packing = checkSettings(settings);
    if (!Number.isSafeInteger(batchSize) || batchSize < 1 || batchSize * settings.sequenceLength > 2 ** 28) {
      throw new DataError("bad-option", `batchSize: expected 1 … 2^28 / sequenceLength, found ${batchSize}`);
    }
    if (epochs !== undefined && !(Number.isSafeInteger(epochs) && epochs >= 1)) {
      throw new DataError("bad-option", `epochs: expected a positive integer or none, found ${epochs}`);
    }
    this.#batchSize = batchSize;
    this.sequencesPerEpoch = sequencesPerEpoch(corpus, this.#packing);
    this.#end = epochs === undefined ? Infinity : epochs * this.sequencesPerEpoch;
  }

  /**
   * Goes on where `position()` was asked: the same sequences follow. Batch size and epochs may differ from before.
   * @throws DataError `bad-position` (no such thing) or `position-mismatch` (another corpus, or other packing settings)
   */
  static resume(corpus: Corpus, settings: BatchSettings, position: Position): Batches {
    const batches = new Batches(corpus, settings);
    const { sequences } = checkPosition(position);
    if (position.corpus !== corpus.hash) {
      throw new DataError(
        "position-mismatch",
        `the corpus has changed since the position was taken: expected ${position.corpus}, found ${corpus.hash}; ` +
          "restore its files and tokenizer, or start anew",
      );
    }
    const found = batches.#packing as unknown as Record<string, unknown>;
    for (const [name, wanted] of Object.entries(checkSettings(position.packing))) {
      if (JSON.stringify(wanted) !== JSON.stringify(found[name])) {
        throw new DataError(
          "position-mismatch",
          `${name} has changed since the position was taken: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found[name])}`,
        );
      }
    }
    batches.#sequences = sequences;
    return batches;
  }

  position(): Position {
    return { version: 1, corpus: this.#corpus.hash, packing: this.#packing, sequences: this.#sequences };
  }

  /** The next batch, in arrays of its own; null after the last epoch. */
  next(): Batch | null {
    if (this.#sequences >= this.#end) return null;
    const { sequenceLength } = this.#packing;
    const size = this.#batchSize * sequenceLength;
    const sequences = Math.min(this.#batchSize, this.#end - this.#sequences);
    const batch: Batch = {
      batchSize: this.#batchSize,
      sequenceLength,
      inputIds: new Int32Array(size).fill(this.#packing.boundary.after ?? this.#packing.boundary.before!),
      targets: new Int32Array(size).fill(NOT_SCORED),
      positions: Int32Array.from({ length: size }, (_, i) => i % sequenceLength),
      segments: new Int32Array(size).fill(PADDING),
      sequences,
      epoch: Math.floor(this.#sequences / this.sequencesPerEpoch),
    };
    for (let row = 0; row < sequences; row++) {
      const part = (array: Int32Array): Int32Array => array.subarray(row * sequenceLength, (row + 1) * sequenceLength);
      const epoch = Math.floor(this.#sequences / this.sequencesPerEpoch);
      this.#packedEpoch(epoch).writeSequence(this.#sequences % this.sequencesPerEpoch, {
        inputIds: part(batch.inputIds),
        targets: part(batch.targets),
        positions: part(batch.positions),
        segments: part(batch.segments),
      });
      this.#sequences++;
    }
    return batch;
  }

  #packedEpoch(epoch: number): PackedEpoch {
    if (this.#packed === undefined || this.#epoch !== epoch) {
      this.#packed = new PackedEpoch(this.#corpus, this.#packing, epoch);
      this.#epoch = epoch;
    }
    return this.#packed;
  }
}

function checkPosition(value: unknown): Position {
  const isRight =
    isObject(value) &&
    value.version === 1 &&
    typeof value.corpus === "string" &&
    isObject(value.packing) &&
    isObject(value.packing.boundary) &&
    isObject(value.packing.shuffle) &&
    Number.isSafeInteger(value.sequences) &&
    (value.sequences as number) >= 0;
  if (!isRight) throw new DataError("bad-position", "expected a position of version 1, as Batches.position() gives it");
  return value as unknown as Position;
}
