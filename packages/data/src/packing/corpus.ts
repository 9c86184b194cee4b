import { DataError } from "../errors.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { CorpusHash } from "./corpus-hash.js";
import type { TokenSource } from "./token-source.js";

/** 2 GiB of ids. */
const MAX_TOKENS = 2 ** 29;

export interface CorpusOptions {
  /** More tokens are refused, since a corpus is held in memory whole (4 bytes each). Default 2^29. */
  maxTokens?: number;
}

/** Tokenized documents, in memory: one array of ids, without special tokens added, and where each document begins. */
export class Corpus implements TokenSource {
  /** Tokens of all documents, one after another; ~id where a token is context only. */
  readonly tokens: Int32Array;
  readonly offsets: Float64Array;
  readonly hash: string;

  private constructor(tokens: Int32Array, offsets: Float64Array, tokenizerHash: string) {
    this.tokens = tokens;
    this.offsets = offsets;
    const hash = new CorpusHash(tokenizerHash);
    hash.update(tokens);
    this.hash = hash.digest(offsets);
  }

  get documents(): number {
    return this.offsets.length - 1;
  }

  read(at: number, out: Int32Array): void {
    out.set(this.tokens.subarray(at, at + out.length));
  }

  /** Documents that are tokens already (~id: context only); empty ones are left out. @throws DataError as `build` does */
  static of(
    documents: Iterable<Int32Array>,
    tokenizerHash: string,
    { maxTokens = MAX_TOKENS }: CorpusOptions = {},
  ): Corpus {
    const parts: Int32Array[] = [];
    const offsets = [0];
    let size = 0;
    for (const ids of documents) {
      if (ids.length === 0) continue;
      size += ids.length;
      if (size > maxTokens) {
        throw new DataError(
          "too-large",
          `more than ${maxTokens} tokens after ${offsets.length} documents; a corpus is held in memory, use fewer files`,
        );
      }
      parts.push(ids);
      offsets.push(size);
    }
    if (size === 0) throw new DataError("empty-corpus", "expected at least one document with text, found none");
    const tokens = new Int32Array(size);
    parts.forEach((part, d) => tokens.set(part, offsets[d]));
    return new Corpus(tokens, Float64Array.from(offsets), tokenizerHash);
  }

  /**
   * Tokenizes documents in their order; those without a token are left out.
   * @throws DataError `empty-corpus`, `too-large`, and what reading and encoding throw
   */
  static async build(
    documents: AsyncIterable<{ readonly text: string }> | Iterable<{ readonly text: string }>,
    tokenizer: Tokenizer,
    options: CorpusOptions = {},
  ): Promise<Corpus> {
    const encoded: Int32Array[] = [];
    let left = options.maxTokens ?? MAX_TOKENS;
    for await (const { text } of documents) {
      encoded.push(tokenizer.encode(text, { addSpecialTokens: false }));
      left -= encoded.at(-1)!.length;
      if (left < 0) break; // `of` says so
    }
    return Corpus.of(encoded, tokenizer.hash, options);
  }
}
