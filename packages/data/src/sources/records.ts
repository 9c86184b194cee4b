import type { ReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { DataError } from "../errors.js";
import { decodeUtf8 } from "../files.js";
import { type BadRecord, BadRecords } from "./bad-records.js";
import { readBytes } from "./bytes.js";
import { isObject } from "../tokenizer/format.js";
import { type Compression, formatOf, type Format } from "./format.js";
import { readLines } from "./lines.js";
import { readParquet } from "./parquet.js";

export interface RecordOptions {
  /** Default "auto": by the file's extension, `.gz` and `.zst` aside. */
  format?: "auto" | Format;
  /** Limit for one JSONL line (default 64 MiB), or one text or JSON file (default 256 MiB), after unpacking. */
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
/** Before so many records a share of bad ones says little; only the end of the files does. */
const EARLY = 1000;

/** How records become values: of JSON objects and Parquet rows, and of text files (not given: they are no records). */
export interface RecordParser<T> {
  /** Of a Parquet file, columns that may be of use. */
  readonly columns: readonly string[];
  readonly ofRecord: (record: Record<string, unknown>) => Parsed<T>;
  readonly ofText?: (text: string) => T;
}

/** Text files, and the texts in a field of records. */
export function textParser(field: string): RecordParser<string> {
  return {
    columns: [field],
    ofText: (text) => text,
    ofRecord: (record) => {
      if (!Object.hasOwn(record, field)) return { reason: `no field ${JSON.stringify(field)}` };
      const value = record[field];
      return typeof value === "string" ? { value } : { reason: `field ${JSON.stringify(field)} is not a string` };
    },
  };
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
  #bad = new BadRecords();
  /** Bytes of the files behind, and the stream of the one being read. */
  #bytesBehind = 0;
  #stream: ReadStream | undefined;

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
    return this.#bad.count;
  }

  /** The first hundred of them. */
  get bad(): readonly BadRecord[] {
    return this.#bad.first;
  }

  /** @throws DataError `missing-file`, `too-large`, `bad-gzip`, `bad-zstd`, `bad-parquet`, `bad-records`; `bad-utf8` for a text file */
  async *[Symbol.asyncIterator](): AsyncGenerator<Located<T>> {
    this.#records = 0;
    this.#bad = new BadRecords();
    this.#bytesBehind = 0;
    for (const file of this.files) {
      for await (const { parsed, line } of this.#parsedOf(file)) {
        this.#records++;
        if ("value" in parsed) yield { value: parsed.value, file, line };
        else this.#leaveOut({ file, line, reason: parsed.reason });
      }
      this.#bytesBehind += (await stat(file)).size;
      this.#stream = undefined;
    }
    BadRecords.check(this, this.#options.maxBadShare ?? 1);
  }

  /** Bytes read of the files so far, as they are on the disk. */
  get bytesRead(): number {
    return this.#bytesBehind + (this.#stream?.bytesRead ?? 0);
  }

  async *#parsedOf(file: string): AsyncGenerator<{ parsed: Parsed<T>; line: number }> {
    const { format, compression } = formatOf(file, this.#options.format);
    if (format === "jsonl") yield* this.#readLines(file, compression);
    else if (format === "parquet") yield* this.#readRows(file);
    else if (format === "json") yield* this.#readList(file, compression);
    else yield { parsed: { value: this.#parser.ofText!(await this.#readText(file, compression)) }, line: 1 };
  }

  #readBytes(file: string, compression: Compression): AsyncGenerator<Uint8Array> {
    return readBytes(file, compression, (stream) => (this.#stream = stream));
  }

  #leaveOut(record: BadRecord): void {
    this.#bad.add(record);
    // Where nothing can be read, the end need not be waited for.
    if (this.#bad.count === this.#records && this.#records >= EARLY) {
      BadRecords.check(this, this.#options.maxBadShare ?? 1);
    }
  }

  async #readText(file: string, compression: Compression): Promise<string> {
    const limit = this.#options.maxRecordBytes ?? 256 * MIB;
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.#readBytes(file, compression)) {
      size += chunk.length;
      if (size > limit) {
        throw new DataError("too-large", `a text of more than ${limit} bytes; split the file, or use JSONL`, { file });
      }
      chunks.push(chunk);
    }
    return decodeUtf8(Buffer.concat(chunks), { file });
  }

  async *#readLines(file: string, compression: Compression): AsyncGenerator<{ parsed: Parsed<T>; line: number }> {
    const lines = readLines(this.#readBytes(file, compression), file, this.#options.maxRecordBytes ?? 64 * MIB);
    for await (const { bytes, number } of lines) {
      const record = parseJsonLine(bytes);
      if (record === undefined) continue;
      yield { parsed: "value" in record ? this.#parser.ofRecord(record.value) : record, line: number };
    }
  }

  async *#readList(file: string, compression: Compression): AsyncGenerator<{ parsed: Parsed<T>; line: number }> {
    const text = await this.#readText(file, compression);
    let list: unknown;
    try {
      list = JSON.parse(text);
    } catch (error) {
      throw new DataError("bad-json", `expected JSON: ${(error as Error).message}`, { file });
    }
    if (!Array.isArray(list)) {
      throw new DataError(
        "bad-json",
        "expected a list of records; one record per line is JSONL, with the extension .jsonl",
        { file },
      );
    }
    for (const [i, record] of list.entries()) {
      yield { parsed: isObject(record) ? this.#parser.ofRecord(record) : { reason: "not an object" }, line: i + 1 };
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
  return isObject(value) ? { value } : { reason: "not an object" };
}
