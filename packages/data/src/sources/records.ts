import { DataError } from "../errors.js";
import { decodeUtf8 } from "../files.js";
import { readBytes } from "./bytes.js";
import { type Compression, formatOf, type Format } from "./format.js";
import { readLines } from "./lines.js";
import { readParquet } from "./parquet.js";

export interface BadRecord {
  readonly file: string;
  /** Line, or row of a Parquet file, from 1. */
  readonly line: number;
  readonly reason: string;
}

export interface RecordOptions {
  /** Default "auto": by the file's extension, `.gz` and `.zst` aside. */
  format?: "auto" | Format;
  /** Limit for one JSONL line (default 64 MiB) or one text file (default 256 MiB), after unpacking. */
  maxRecordBytes?: number;
  /** The share of bad records (0 … 1) above which reading ends in an error. Default 1: never. */
  maxBadShare?: number;
}

/** What a record is read as, or why it cannot be. */
export type Parsed<T> = { readonly value: T } | { readonly reason: string };

export interface Located<T> {
  readonly value: T;
  readonly file: string;
  readonly line: number;
}

const MIB = 1024 * 1024;
const KEPT_BAD_RECORDS = 100;
/** Before so many records a share of bad ones says little; only the end of the files does. */
const EARLY = 1000;

/** How records become values: of JSON objects and Parquet rows, and of text files (not given: they are no records). */
export interface RecordParser<T> {
  /** Of a Parquet file, columns that may be of use. */
  readonly columns: readonly string[];
  readonly ofRecord: (record: Record<string, unknown>) => Parsed<T>;
  readonly ofText?: (text: string) => T;
}

/**
 * Values of the records of files, in the order given; streaming. Records that cannot be read are left out, counted and reported
 * with file and line; blank lines are nothing.
 */
export class RecordReader<T> implements AsyncIterable<Located<T>> {
  readonly files: readonly string[];
  readonly #parser: RecordParser<T>;
  readonly #options: RecordOptions;
  #records = 0;
  #badRecords = 0;
  #bad: BadRecord[] = [];

  /** @throws DataError `unsupported`: a format that cannot be told from the extension, or text where records are wanted */
  constructor(files: readonly string[], parser: RecordParser<T>, options: RecordOptions = {}) {
    this.files = files;
    this.#parser = parser;
    this.#options = options;
    for (const file of files) {
      if (formatOf(file, options.format).format === "text" && parser.ofText === undefined) {
        throw new DataError("unsupported", "a text file has no records; expected JSONL or Parquet", { file });
      }
    }
  }

  /** Records seen in this (or the last) pass, bad ones included. */
  get records(): number {
    return this.#records;
  }

  /** Records left out. */
  get badRecords(): number {
    return this.#badRecords;
  }

  /** The first hundred of them. */
  get bad(): readonly BadRecord[] {
    return this.#bad;
  }

  /** @throws DataError `missing-file`, `too-large`, `bad-gzip`, `bad-zstd`, `bad-parquet`, `bad-records`; `bad-utf8` for a text file */
  async *[Symbol.asyncIterator](): AsyncGenerator<Located<T>> {
    this.#records = 0;
    this.#badRecords = 0;
    this.#bad = [];
    for (const file of this.files) {
      const { format, compression } = formatOf(file, this.#options.format);
      if (format === "text") {
        this.#records++;
        yield { value: this.#parser.ofText!(await this.#readText(file, compression)), file, line: 1 };
        continue;
      }
      const records = format === "jsonl" ? this.#readLines(file, compression) : this.#readRows(file);
      for await (const { parsed, line } of records) {
        this.#records++;
        if ("value" in parsed) yield { value: parsed.value, file, line };
        else this.#leaveOut({ file, line, reason: parsed.reason });
      }
    }
    this.#checkShare();
  }

  #leaveOut(record: BadRecord): void {
    this.#badRecords++;
    if (this.#bad.length < KEPT_BAD_RECORDS) this.#bad.push(record);
    if (this.#badRecords === this.#records && this.#records >= EARLY) this.#checkShare();
  }

  #checkShare(): void {
    const { maxBadShare = 1 } = this.#options;
    if (this.#badRecords <= maxBadShare * this.#records) return;
    const { file, line, reason } = this.#bad[0]!;
    throw new DataError(
      "bad-records",
      `${this.#badRecords} of ${this.#records} records cannot be read, more than a share of ${maxBadShare}; the first: ${reason}`,
      { file, line },
    );
  }

  async #readText(file: string, compression: Compression): Promise<string> {
    const limit = this.#options.maxRecordBytes ?? 256 * MIB;
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of readBytes(file, compression)) {
      size += chunk.length;
      if (size > limit) {
        throw new DataError("too-large", `a text of more than ${limit} bytes; split the file, or use JSONL`, { file });
      }
      chunks.push(chunk);
    }
    return decodeUtf8(Buffer.concat(chunks), { file });
  }

  async *#readLines(file: string, compression: Compression): AsyncGenerator<{ parsed: Parsed<T>; line: number }> {
    const lines = readLines(readBytes(file, compression), file, this.#options.maxRecordBytes ?? 64 * MIB);
    for await (const { bytes, number } of lines) {
      const record = parseJsonLine(bytes);
      if (record === undefined) continue;
      yield { parsed: "value" in record ? this.#parser.ofRecord(record.value) : record, line: number };
    }
  }

  async *#readRows(file: string): AsyncGenerator<{ parsed: Parsed<T>; line: number }> {
    let line = 0;
    for await (const row of readParquet(file, this.#parser.columns)) {
      yield { parsed: this.#parser.ofRecord(row), line: ++line };
    }
  }
}

/** The object of one JSONL line, or why there is none; undefined for a blank line. */
function parseJsonLine(bytes: Uint8Array): Parsed<Record<string, unknown>> | undefined {
  let line: string;
  try {
    line = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { reason: "not UTF-8" };
  }
  if (line.trim() === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { reason: `not JSON: ${(error as Error).message}` };
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? { value: value as Record<string, unknown> } : { reason: "not an object" };
}
