/** What is wrong with a checkpoint. A closed set: a caller can switch over it. */
export type CheckpointErrorCode =
  | "missing-file"
  | "not-a-file"
  | "too-large"
  | "truncated"
  | "header-too-long"
  | "bad-header-json"
  | "duplicate-key"
  | "overlapping-offsets"
  | "offset-out-of-range"
  | "gap"
  | "trailing-bytes"
  | "size-mismatch"
  | "size-overflow"
  | "wrong-dtype"
  | "wrong-shape"
  | "missing-tensor"
  | "extra-tensor"
  | "bad-index"
  | "index-outside-directory"
  | "bad-config"
  | "bad-provenance"
  | "bad-delta"
  | "unsupported"
  | "exists"
  | "not-a-directory"
  | "no-space"
  | "read-error"
  | "write-error";

/**
 * A mistake in a file that a user gave or asked for. `file` is the path as this package opened it; `tensor` is set where
 * one tensor is to blame. The message names both.
 */
export class CheckpointError extends Error {
  readonly code: CheckpointErrorCode;
  readonly file: string;
  readonly tensor?: string;

  constructor(code: CheckpointErrorCode, file: string, problem: string, tensor?: string) {
    super(`${file}: ${tensor === undefined ? "" : `tensor ${JSON.stringify(tensor)}: `}${problem}`);
    this.name = "CheckpointError";
    this.code = code;
    this.file = file;
    if (tensor !== undefined) this.tensor = tensor;
  }
}

/** The `code` of a Node system error ("ENOENT", …), or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
