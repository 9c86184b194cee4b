/** What is wrong. A closed set: a caller can switch over it. */
export type DataErrorCode =
  | "missing-file"
  | "not-a-file"
  | "too-large"
  | "exists"
  | "bad-json"
  | "bad-utf8"
  | "bad-gzip"
  | "bad-zstd"
  | "bad-parquet"
  | "bad-records"
  | "bad-tokenizer"
  | "bad-template"
  | "unsupported"
  | "bad-option"
  | "bad-ids"
  | "empty-corpus"
  | "bad-position"
  | "position-mismatch";

/**
 * A mistake in a file or a setting that a user gave. `file` is the path as given; `line` counts from 1. The message begins
 * with both where they apply.
 */
export class DataError extends Error {
  readonly code: DataErrorCode;
  readonly file?: string;
  readonly line?: number;

  constructor(code: DataErrorCode, problem: string, where: { file?: string; line?: number } = {}) {
    const place = where.file === undefined ? "" : `${where.file}${where.line === undefined ? "" : `:${where.line}`}: `;
    super(`${place}${problem}`);
    this.name = "DataError";
    this.code = code;
    if (where.file !== undefined) this.file = where.file;
    if (where.line !== undefined) this.line = where.line;
  }
}
