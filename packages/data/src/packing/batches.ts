import { DataError } from "../errors.js";
import { emptyRows, rowOf } from "./batch-rows.js";
import { Mixture, type WeightedSource } from "./mixture.js";
import { checkPosition, expectSame, type Position } from "./position.js";
import { checkSettings, type PackingSettings } from "./settings.js";
import type { TokenSource } from "./token-source.js";

export interface BatchSettings extends PackingSettings {
  /** B, sequences per batch. */
  readonly batchSize: number;
  /**
   * Passes over the corpus, not necessarily whole; without it there is no end. One pass of a mixture is as many sequences as one
   * of each of its sources.
   */
  readonly epochs?: number;
}

/** All arrays are [B, T], row-major. */
export interface Batch {
  readonly batchSize: number;
  readonly sequenceLength: number;
  readonly inputIds: Int32Array;
  /** The id that follows, -100 where it is not scored. */
  readonly targets: Int32Array;
  /** In "concatenate" mode 0 … T - 1; else from 0 in every segment. */
  readonly positions: Int32Array;
  /** Segment within the sequence, from 0; always 0 in "concatenate" mode; -1 for padding. */
  readonly segments: Int32Array;
  /** Rows that hold data. Less than B only in the very last batch; the other rows are padding. */
  readonly sequences: number;
  /** Of each of these rows, the index of its source. */
  readonly sources: readonly number[];
}

/** Batches of packed sequences. The n-th sequence depends on the sources, settings and n only. */
export class Batches {
  /** Of all sources together; a fraction where epochs follow without a gap. */
  readonly sequencesPerEpoch: number;
  readonly #mixture: Mixture;
  readonly #packing: PackingSettings;
  readonly #batchSize: number;
  readonly #epochs: number | undefined;
  readonly #end: number;
  #sequences: number;

  /** @throws DataError `bad-option` */
  constructor(sources: TokenSource | readonly WeightedSource[], settings: BatchSettings, position?: Position) {
    const { batchSize, epochs } = settings;
    this.#packing = checkSettings(settings);
    checkBatchSize(batchSize, settings.sequenceLength);
    if (epochs !== undefined && !(epochs > 0 && Number.isFinite(epochs))) {
      throw new DataError("bad-option", `epochs: expected a positive number or none, found ${epochs}`);
    }
    const weighted = "hash" in sources ? [{ source: sources, weight: 1 }] : sources;
    this.#batchSize = batchSize;
    this.#epochs = weighted.length === 1 && epochs !== undefined ? Math.ceil(epochs) : undefined;
    this.#mixture = new Mixture(weighted, this.#packing, position?.sources);
    this.sequencesPerEpoch = this.#mixture.packings.reduce((sum, packing) => sum + packing.sequencesPerEpoch, 0);
    this.#end = epochs === undefined ? Infinity : Math.ceil(epochs * this.sequencesPerEpoch);
    this.#sequences = this.#mixture.positions().reduce((sum, { sequences }) => sum + sequences, 0);
  }

  /**
   * Goes on where `position()` was asked: the same sequences follow. Batch size and epochs may differ from before.
   * @throws DataError `bad-position` (no such thing) or `position-mismatch` (other sources, or other packing settings)
   */
  static resume(
    sources: TokenSource | readonly WeightedSource[],
    settings: BatchSettings,
    position: Position,
  ): Batches {
    const batches = new Batches(sources, settings, checkPosition(position));
    expectSame(position, batches.position());
    return batches;
  }

  position(): Position {
    return { version: 2, packing: this.#packing, sources: this.#mixture.positions() };
  }

  /** How many passes over each source are behind, as fractions. */
  epochs(): number[] {
    return this.#mixture.epochs();
  }

  /** Mode "whole": documents that are longer than a sequence and lose their end, and those left out since then nothing of them is scored. */
  shortened(): { truncated: number; leftOut: number } {
    const sum = (of: "truncated" | "leftOut") =>
      this.#mixture.packings.reduce((n, packing) => n + (packing[of] ?? 0), 0);
    return { truncated: sum("truncated"), leftOut: sum("leftOut") };
  }

  /** The next batch, in arrays of its own; null after the last epoch. */
  next(): Batch | null {
    if (this.#sequences >= this.#end) return null;
    const { sequenceLength } = this.#packing;
    const sequences = Math.min(this.#batchSize, this.#end - this.#sequences);
    const arrays = emptyRows(this.#batchSize, this.#packing);
    const sources = Array.from({ length: sequences }, (_, row) =>
      this.#mixture.writeNext(rowOf(arrays, row, sequenceLength), this.#epochs),
    );
    this.#sequences += sequences;
    return { batchSize: this.#batchSize, sequenceLength, ...arrays, sequences, sources };
  }
}

/** @throws DataError `bad-option` */
export function checkBatchSize(batchSize: number, sequenceLength: number): void {
  if (Number.isSafeInteger(batchSize) && batchSize >= 1 && batchSize * sequenceLength <= 2 ** 28) return;
  throw new DataError("bad-option", `batchSize: expected 1 … 2^28 / sequenceLength, found ${batchSize}`);
}
