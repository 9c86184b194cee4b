import { createHash } from "node:crypto";
import type { TokenSource } from "./token-source.js";

/** Several sources as one, their documents one after another. */
export class JoinedSource implements TokenSource {
  readonly offsets: Float64Array;
  readonly hash: string;
  readonly #sources: readonly TokenSource[];
  /** Where each source's tokens begin. */
  readonly #starts: number[] = [];

  private constructor(sources: readonly TokenSource[]) {
    this.#sources = sources;
    this.offsets = new Float64Array(1 + sources.reduce((sum, { documents }) => sum + documents, 0));
    let tokens = 0;
    let document = 0;
    for (const { offsets, documents } of sources) {
      this.#starts.push(tokens);
      for (let d = 1; d <= documents; d++) this.offsets[++document] = tokens + offsets[d]!;
      tokens += offsets[documents]!;
    }
    this.hash = createHash("sha256")
      .update(sources.map(({ hash }) => hash).join("\n"))
      .digest("hex");
  }

  /** One source is itself. */
  static of(sources: readonly TokenSource[]): TokenSource {
    return sources.length === 1 ? sources[0]! : new JoinedSource(sources);
  }

  get documents(): number {
    return this.offsets.length - 1;
  }

  read(at: number, out: Int32Array): void {
    for (let done = 0; done < out.length;) {
      const index = this.#starts.findLastIndex((start) => start <= at + done);
      const source = this.#sources[index]!;
      const within = at + done - this.#starts[index]!;
      const count = Math.min(out.length - done, source.offsets.at(-1)! - within);
      source.read(within, out.subarray(done, done + count));
      done += count;
    }
  }
}
