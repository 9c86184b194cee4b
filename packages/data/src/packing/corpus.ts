import { createHash } from "node:crypto";
import { DataError } from "../errors.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";

/** 2 GiB of ids. */
const MAX_TOKENS = 2 ** 29;

export interface CorpusOptions {
  /** More tokens are refused, since a corpus is held in memory whole (4 bytes each). Default 2^29. */
  maxTokens?: number;
}

/** Tokenized documents, in memory: one array of ids, without special tokens added, and where each document begins. */
export class Corpus {
  /** Ids of all documents, one after another. */
  readonly tokens: Int32Array;
  /** [documents + 1]: document d is tokens[offsets[d] … offsets[d + 1]). */
  readonly offsets: Float64Array;
  /** SHA-256, in hex, of the tokenizer's hash, the offsets and the ids: equal for equal corpora only. */
  readonly hash: string;

  private constructor(tokens: Int32Array, offsets: Float64Array, tokenizerHash: string) {
    this.tokens = tokens;
    this.offsets = offsets;
    const hash = createHash("sha256").update(`slayer corpus 1\n${tokenizerHash}\n${offsets.length - 1}\n`);
    hash.update(bytesOf(offsets));
    // In pieces: one update takes less than 2 GiB.
    for (let at = 0; at < tokens.length; at += 2 ** 24) hash.update(bytesOf(tokens.subarray(at, at + 2 ** 24)));
    this.hash = hash.digest("hex");
  }

  get documents(): number {
    return this.offsets.length - 1;
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
    const limit = options.maxTokens ?? MAX_TOKENS;
    const parts: Int32Array[] = [];
    const offsets = [0];
    let size = 0;
    for await (const { text } of documents) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      if (ids.length === 0) continue;
      size += ids.length;
      if (size > limit) {
        throw new DataError(
          "too-large",
          `more than ${limit} tokens after ${offsets.length} documents; a corpus is held in memory, use fewer files`,
        );
      }
      parts.push(ids);
      offsets.push(size);
    }
    if (size === 0) throw new DataError("empty-corpus", "expected at least one document with text, found none");
    const tokens = new Int32Array(size);
    parts.forEach((part, d) => tokens.set(part, offsets[d]));
    return new Corpus(tokens, Float64Array.from(offsets), tokenizer.hash);
  }
}

function bytesOf(array: Int32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
