/** A stream for text; `isTTY` and `columns` as on process.stderr. */
export type TextStream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

/** Everything the command needs from the process that runs it, so that it can also be run inside another program. */
export interface Io {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  /** Aborted with an `Interrupted` when the user wants to stop. */
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
}
