import type { BadRecord } from "./bad-records.js";
import { type Located, type RecordOptions, RecordReader, textParser } from "./records.js";

export interface Document {
  readonly text: string;
  readonly file: string;
  /** Line of the record, or row of a Parquet file, from 1; for a text file 1. */
  readonly line: number;
}

export interface ReadOptions extends RecordOptions {
  /** JSONL and Parquet: the field that holds the text. Default "text". */
  field?: string;
}

/**
 * Documents of text files (one each), JSONL files (one per line) and Parquet files (one per row), in the order given. Streaming.
 * A record without the text is left out, counted and reported.
 */
export class DocumentReader implements AsyncIterable<Document> {
  readonly #reader: RecordReader<string>;

  /** @throws DataError `unsupported`: a format that cannot be told from the extension */
  constructor(files: readonly string[], options: ReadOptions = {}) {
    this.#reader = new RecordReader(files, textParser(options.field ?? "text"), options);
  }

  get files(): readonly string[] {
    return this.#reader.files;
  }

  /** Records seen in this (or the last) pass, bad ones included. */
  get records(): number {
    return this.#reader.records;
  }

  /** Records left out so far in this (or the last) pass. */
  get badRecords(): number {
    return this.#reader.badRecords;
  }

  /** The first hundred of them. */
  get bad(): readonly BadRecord[] {
    return this.#reader.bad;
  }

  /** @throws DataError as RecordReader does */
  async *[Symbol.asyncIterator](): AsyncGenerator<Document> {
    for await (const { value: text, file, line } of this.#reader as AsyncIterable<Located<string>>) {
      yield { text, file, line };
    }
  }
}
