import { DataError } from "../errors.js";
import { decodeUtf8 } from "../files.js";
import { readBytes } from "./bytes.js";
import { readLines } from "./lines.js";

export interface Document {
  readonly text: string;
  readonly file: string;
  /** Line of the record, from 1; for a text file 1. */
  readonly line: number;
}

export interface BadRecord {
  readonly file: string;
  readonly line: number;
  readonly reason: string;
}

export interface ReadOptions {
  /** JSONL: the field that holds the text. Default "text". */
  field?: string;
  /** Default "auto": by the file's extension, `.gz` aside. */
  format?: "auto" | "text" | "jsonl";
  /** Limit for one JSONL line (default 64 MiB) or one text file (default 256 MiB), after unpacking. */
  maxRecordBytes?: number;
}

const MIB = 1024 * 1024;
const KEPT_BAD_RECORDS = 100;
const TEXT_EXTENSIONS = ["txt", "text", "md", "tex"];
const JSONL_EXTENSIONS = ["jsonl", "ndjson"];
const LATER: Readonly<Record<string, string>> = {
  parquet: "Parquet",
  zst: "Zstandard",
  arrow: "Arrow",
};

/**
 * Documents of text files (one each) and JSONL files (one per line), plain or gzip, in the order given. Streaming: holds
 * one record at a time. A JSONL record without the text is left out, counted and reported; blank lines are nothing.
 */
export class DocumentReader implements AsyncIterable<Document> {
  readonly files: readonly string[];
  readonly #options: ReadOptions;
  #badRecords = 0;
  #bad: BadRecord[] = [];

  /** @throws DataError `unsupported`: a format that cannot be told from the extension, or is not built */
  constructor(files: readonly string[], options: ReadOptions = {}) {
    this.files = files;
    this.#options = options;
    for (const file of files) formatOf(file, options.format);
  }

  /** Records left out so far in this (or the last) pass. */
  get badRecords(): number {
    return this.#badRecords;
  }

  /** The first hundred of them. */
  get bad(): readonly BadRecord[] {
    return this.#bad;
  }

  /** @throws DataError `missing-file`, `too-large`, `bad-gzip`; `bad-utf8` for a text file */
  async *[Symbol.asyncIterator](): AsyncGenerator<Document> {
    this.#badRecords = 0;
    this.#bad = [];
    for (const file of this.files) {
      const { format, gzip } = formatOf(file, this.#options.format);
      if (format === "text") yield await this.#readText(file, gzip);
      else yield* this.#readJsonl(file, gzip);
    }
  }

  async #readText(file: string, gzip: boolean): Promise<Document> {
    const limit = this.#options.maxRecordBytes ?? 256 * MIB;
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of readBytes(file, gzip)) {
      size += chunk.length;
      if (size > limit) {
        throw new DataError("too-large", `a text of more than ${limit} bytes; split the file, or use JSONL`, { file });
      }
      chunks.push(chunk);
    }
    return { text: decodeUtf8(Buffer.concat(chunks), { file }), file, line: 1 };
  }

  async *#readJsonl(file: string, gzip: boolean): AsyncGenerator<Document> {
    const field = this.#options.field ?? "text";
    const lines = readLines(readBytes(file, gzip), file, this.#options.maxRecordBytes ?? 64 * MIB);
    for await (const { bytes, number } of lines) {
      const record = parseRecord(bytes, field);
      if (record === undefined) continue;
      if ("text" in record) yield { text: record.text, file, line: number };
      else {
        this.#badRecords++;
        if (this.#bad.length < KEPT_BAD_RECORDS) this.#bad.push({ file, line: number, reason: record.reason });
      }
    }
  }
}

/** The text of one JSONL line, or why there is none; undefined for a blank line. */
function parseRecord(bytes: Uint8Array, field: string): { text: string } | { reason: string } | undefined {
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
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { reason: "not an object" };
  if (!Object.hasOwn(value, field)) return { reason: `no field ${JSON.stringify(field)}` };
  const text = (value as Record<string, unknown>)[field];
  return typeof text === "string" ? { text } : { reason: `field ${JSON.stringify(field)} is not a string` };
}

function formatOf(file: string, wanted: ReadOptions["format"] = "auto"): { format: "text" | "jsonl"; gzip: boolean } {
  const extensions = file.toLowerCase().split(/[\\/]/u).at(-1)!.split(".").slice(1);
  const gzip = extensions.at(-1) === "gz";
  const extension = extensions.at(gzip ? -2 : -1) ?? "";
  const later = LATER[extension];
  if (later !== undefined) {
    throw new DataError("unsupported", `${later} is not read yet; convert it to .jsonl or .jsonl.gz`, { file });
  }
  if (wanted !== "auto") return { format: wanted, gzip };
  if (TEXT_EXTENSIONS.includes(extension)) return { format: "text", gzip };
  if (JSONL_EXTENSIONS.includes(extension)) return { format: "jsonl", gzip };
  const known = [...TEXT_EXTENSIONS, ...JSONL_EXTENSIONS].map((each) => `.${each}`).join(", ");
  throw new DataError(
    "unsupported",
    `unknown extension ${JSON.stringify(`.${extension}`)}: expected ${known} (each also with .gz), or set the format`,
    { file },
  );
}
