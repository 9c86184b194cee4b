import { Worker } from "node:worker_threads";

interface Waiting {
  readonly resolve: (digest: string) => void;
  readonly reject: (error: Error) => void;
}

/** SHA-256 of tensors that arrive in pieces, computed on another thread so that reading and averaging go on. */
export class HashThread {
  // Options of this process may not be for a file: with --input-type the thread would not start.
  readonly #worker = new Worker(new URL("./hash-worker.js", import.meta.url), { execArgv: [] });
  /** The thread answers in the order in which it was asked. */
  readonly #waiting: Waiting[] = [];
  #failure: Error | undefined;

  constructor() {
    this.#worker.on("message", (digest: string) => this.#waiting.shift()?.resolve(digest));
    this.#worker.on("error", (cause) => this.#fail(new Error("the hashing thread failed", { cause })));
    this.#worker.on("exit", () => this.#fail(new Error("the hashing thread ended before its work was done")));
  }

  /** Adds bytes to a tensor's hash; they must stay as they are until the promise resolves. They lie in shared memory. */
  async update(tensor: string, piece: Uint8Array<SharedArrayBuffer>): Promise<void> {
    await this.#ask({ tensor, piece });
  }

  /** Ends a tensor's hash, in lower-case hexadecimal; one without bytes need not have been seen before. */
  digest(tensor: string): Promise<string> {
    return this.#ask({ tensor });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(message: { tensor: string; piece?: Uint8Array<SharedArrayBuffer> }): Promise<string> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(message, []);
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }
}
