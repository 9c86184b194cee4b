import { createHash } from "node:crypto";

/** Hashes tokens as they are written, and at the end the offsets: TokenSource.hash. */
export class CorpusHash {
  readonly #tokens = createHash("sha256");
  readonly #tokenizerHash: string;

  constructor(tokenizerHash: string) {
    this.#tokenizerHash = tokenizerHash;
  }

  update(tokens: Int32Array): void {
    // In pieces: one update takes less than 2 GiB.
    for (let at = 0; at < tokens.length; at += 2 ** 24) this.#tokens.update(bytesOf(tokens.subarray(at, at + 2 ** 24)));
  }

  digest(offsets: Float64Array): string {
    return createHash("sha256")
      .update(`slayer corpus 2\n${this.#tokenizerHash}\n${offsets.length - 1}\n${this.#tokens.digest("hex")}\n`)
      .update(bytesOf(offsets))
      .digest("hex");
  }
}

export function bytesOf(array: Int16Array | Int32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
