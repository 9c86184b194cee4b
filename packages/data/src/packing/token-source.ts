/**
 * Tokenized documents, wherever they lie. A token that is context only, such as a prompt, which is seen but is no target of the
 * loss, stands as ~id, so it is negative.
 */
export interface TokenSource {
  /** Number of documents. */
  readonly documents: number;
  /** [documents + 1]: document d is the tokens offsets[d] … offsets[d + 1]. */
  readonly offsets: Float64Array;
  /** In hex; equal for equal tokens, documents and tokenizers only. */
  readonly hash: string;
  /** Fills `out` with the tokens from `at` on. */
  read(at: number, out: Int32Array): void;
}

/** The id of a token, whether context or not. */
export function idOf(token: number): number {
  return token < 0 ? ~token : token;
}

export function tokenCount({ offsets }: TokenSource): number {
  return offsets.at(-1)!;
}
