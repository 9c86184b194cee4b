import type { Hash } from "node:crypto";
import { createHash } from "node:crypto";

/** SHA-256 of tensors that arrive in pieces, possibly more than once; later passes over a finished one are ignored. */
export class TensorHashes {
  readonly #finished = new Map<string, string>();
  readonly #running = new Map<string, Hash>();

  update(tensor: string, piece: Uint8Array): void {
    if (this.#finished.has(tensor)) return;
    let hash = this.#running.get(tensor);
    if (hash === undefined) {
      hash = createHash("sha256");
      this.#running.set(tensor, hash);
    }
    hash.update(piece);
  }

  /** Ends a tensor; one without bytes may never have been seen. Returns its hash in lower-case hexadecimal. */
  finish(tensor: string): string {
    const known = this.#finished.get(tensor);
    if (known !== undefined) return known;
    const digest = (this.#running.get(tensor) ?? createHash("sha256")).digest("hex");
    this.#running.delete(tensor);
    this.#finished.set(tensor, digest);
    return digest;
  }

  /** Finished tensors, sorted by name. */
  entries(): [string, string][] {
    return [...this.#finished].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}
