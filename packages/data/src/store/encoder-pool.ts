import { Worker } from "node:worker_threads";
import { DataError, type DataErrorCode } from "../errors.js";
import { type EncodedItems, type EncoderSpec, type Item, ItemEncoder } from "./encode-items.js";

/** A batch that takes longer is given up, and the template called endless. */
const TIME_LIMIT_SECONDS = 120;
/**
 * Heap of a thread, in MiB: where a template that makes endless text ends. Small enough that an array which grows until V8 allows no
 * more (some 1.3 GB) does not get there: that would end the process, not the thread.
 */
const HEAP_LIMIT = 1024;

type Answer =
  | { readonly encoded: EncodedItems }
  | { readonly error: { message: string; code?: DataErrorCode; file?: string; line?: number } };

interface Waiting {
  readonly resolve: (encoded: EncodedItems) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** The built file; beside the sources the same one. */
const WORKER = new URL(
  import.meta.url.endsWith(".ts") ? "../../dist/encode-worker.js" : "./encode-worker.js",
  import.meta.url,
);

export interface Encoder {
  encode(items: readonly Item[]): Promise<EncodedItems>;
  close(): Promise<void>;
}

/** Encodes on this thread. */
export async function localEncoder(spec: EncoderSpec): Promise<Encoder> {
  const encoder = await ItemEncoder.load(spec);
  return { encode: (items) => Promise.resolve(encoder.encode(items)), close: () => Promise.resolve() };
}

/** Encodes on `count` threads; a thread that fails fails all that was asked of it. */
export function threadEncoder(spec: EncoderSpec, count: number, secondsLimit = TIME_LIMIT_SECONDS): Encoder {
  const threads = Array.from({ length: count }, () => new EncoderThread(spec, secondsLimit));
  let next = 0;
  return {
    encode: (items) => threads[next++ % count]!.encode(items),
    close: async () => {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

class EncoderThread {
  readonly #worker: Worker;
  readonly #secondsLimit: number;
  /** The thread answers in the order in which it was asked. */
  readonly #waiting: Waiting[] = [];
  #failure: Error | undefined;

  constructor(spec: EncoderSpec, secondsLimit: number) {
    this.#secondsLimit = secondsLimit;
    this.#worker = new Worker(WORKER, { workerData: spec, resourceLimits: { maxOldGenerationSizeMb: HEAP_LIMIT } });
    this.#worker.on("message", (answer: Answer) => {
      const { resolve, reject, timer } = this.#waiting.shift()!;
      clearTimeout(timer);
      if ("encoded" in answer) resolve(answer.encoded);
      else reject(errorOf(answer.error));
    });
    this.#worker.on("error", (cause: NodeJS.ErrnoException) => {
      const outOfMemory = cause.code === "ERR_WORKER_OUT_OF_MEMORY";
      this.#fail(
        outOfMemory
          ? new DataError(
              "too-large",
              `encoding a batch took more than ${HEAP_LIMIT} MiB; is the chat template endless?`,
            )
          : new Error("an encoding thread failed", { cause }),
      );
    });
    this.#worker.on("exit", () => this.#fail(new Error("an encoding thread ended before its work was done")));
  }

  encode(items: readonly Item[]): Promise<EncodedItems> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      // Several batches can be under way on one thread, each with its own time.
      const seconds = this.#secondsLimit * (1 + this.#waiting.length);
      const timer = setTimeout(() => {
        this.#fail(
          new DataError("bad-template", `encoding a batch took more than ${seconds} s; is the chat template endless?`),
        );
        void this.#worker.terminate();
      }, seconds * 1000);
      this.#waiting.push({ resolve, reject, timer });
      this.#worker.postMessage(items, []);
    });
  }

  async close(): Promise<void> {
    this.#failure ??= new Error("the encoder is closed");
    await this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#failure);
    }
  }
}

function errorOf({
  message,
  code,
  file,
  line,
}: {
  message: string;
  code?: DataErrorCode;
  file?: string;
  line?: number;
}): Error {
  if (code === undefined) return new Error(message);
  const place = file === undefined ? "" : `${file}${line === undefined ? "" : `:${line}`}: `;
  const problem = message.startsWith(place) ? message.slice(place.length) : message;
  return new DataError(code, problem, {
    ...(file === undefined ? {} : { file }),
    ...(line === undefined ? {} : { line }),
  });
}
