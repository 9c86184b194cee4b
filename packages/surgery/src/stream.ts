import type { TensorFiles } from "@slayer/checkpoint";
import { isFloatDtype } from "@slayer/checkpoint";
import { weightedSum } from "./average.js";
import { HashThread } from "./hash-thread.js";
import type { Step } from "./passes.js";
import { isAverage, planPasses, steps } from "./passes.js";
import type { TensorTask } from "./tasks.js";
import type { WebAssemblyApi } from "./webassembly.js";

declare const WebAssembly: WebAssemblyApi;

export interface StreamOptions {
  /** Takes the next bytes of a new tensor; they stay as they are until its promise resolves. */
  readonly write: (tensor: string, bytes: Uint8Array) => Promise<void>;
  /** Called after every piece with its size. */
  readonly onWritten: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** SHA-256 by tensor name. */
export interface StreamHashes {
  /** Of every base tensor that was used. */
  readonly base: ReadonlyMap<string, string>;
  readonly made: ReadonlyMap<string, string>;
}

/** Where tensors are read from. */
export type TensorSource = Pick<TensorFiles, "readInto">;

type Bytes = Uint8Array<SharedArrayBuffer>;

const mebibyte = 1024 * 1024;
/** Large enough for the disk, small enough to stay in a processor's cache from the read to the hash and the write. */
const pieceBytes = 2 * mebibyte;
/** Pieces of all sources of one step. */
const windowBytes = 12 * mebibyte;
/** Steps that are read, made or written at a time: enough for the disk's pauses. */
const windowCount = 12;
/** Averages that are on their way to the disk or the hash while the next one is computed. */
const averagesUnderWay = 4;

/**
 * Makes all tensors, reading every base tensor once. While one piece is averaged, earlier ones are hashed (on a thread of
 * its own) and written, and the next is read. Holds twelve windows of 12 MiB and four averages of 2 MiB at most, whatever
 * the model.
 */
export async function streamTensors(
  base: TensorSource,
  tasks: readonly TensorTask[],
  options: StreamOptions,
): Promise<StreamHashes> {
  const passes = planPasses(tasks);
  let widest = 0;
  for (const step of steps(passes, pieceBytes, windowBytes)) widest = Math.max(widest, sourceBytes(step));
  const windows = Array.from({ length: windowCount }, () => ({ bytes: shared(widest), free: Promise.resolve() }));
  const hashThread = new HashThread();
  const maker = new Maker(hashThread, options);
  try {
    let turn = 0;
    let ahead: (() => Promise<void>) | undefined;
    for (const step of steps(passes, pieceBytes, windowBytes)) {
      const window = windows[turn % windowCount] as (typeof windows)[number];
      turn += 1;
      await window.free;
      const pieces = handled(read(base, step, window.bytes));
      window.free = handled(pieces.then(() => undefined));
      await ahead?.();
      ahead = async () => {
        const { made } = await maker.begin(step, await pieces);
        window.free = made;
      };
    }
    await ahead?.();
    await Promise.all(windows.map(({ free }) => free));
    return maker.hashes;
  } finally {
    await Promise.allSettled(windows.map(({ free }) => free));
    await hashThread.close();
  }
}

/** Memory that threads share and that begins on a page, so that the writer can hand it to the disk as it lies there. */
function shared(bytes: number): Bytes {
  const pages = Math.ceil(bytes / 65_536);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return new Uint8Array(buffer, 0, bytes);
}

/** A promise that is awaited later; where another one fails first, its own failure is no news. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

function sourceBytes({ pass, begin, end }: Step): number {
  return pass.sources.length * (end - begin);
}

/** The step's range of all its sources, side by side in `window`. */
async function read(base: TensorSource, { pass, begin, end }: Step, window: Bytes): Promise<Bytes[]> {
  const size = end - begin;
  const pieces = pass.sources.map((_, i) => window.subarray(i * size, (i + 1) * size));
  await Promise.all(pass.sources.map((tensor, i) => base.readInto(tensor, begin, pieces[i] as Bytes)));
  return pieces;
}

/** Room for an average, and when it can be used again. */
interface Average {
  readonly bytes: Bytes;
  free: Promise<unknown>;
}

/** Makes one step after another and collects the hashes. */
class Maker {
  readonly #hashThread: HashThread;
  readonly #options: StreamOptions;
  readonly #base = new Map<string, string>();
  readonly #made = new Map<string, string>();
  readonly #averages: Average[] = Array.from({ length: averagesUnderWay }, () => ({
    bytes: shared(pieceBytes),
    free: Promise.resolve(),
  }));
  #nextAverage = 0;
  readonly #zeros = shared(pieceBytes);
  /** Zeros of one length have one hash. */
  readonly #zeroHashes = new Map<number, Promise<string>>();

  constructor(hashThread: HashThread, options: StreamOptions) {
    this.#hashThread = hashThread;
    this.#options = options;
  }

  get hashes(): StreamHashes {
    return { base: this.#base, made: this.#made };
  }

  /** Computes what the step computes; `made` resolves when all of it is hashed and written and `pieces` may change. */
  async begin(step: Step, pieces: readonly Bytes[]): Promise<{ made: Promise<void> }> {
    this.#options.signal?.throwIfAborted();
    const { pass, begin, end } = step;
    const sources = new Map(pass.sources.map((tensor, i) => [tensor, pieces[i] as Bytes]));
    const work: Promise<unknown>[] = [];
    for (const [tensor, piece] of sources) work.push(this.#hash(`base ${tensor}`, piece));
    for (const task of pass.outputs.filter((output) => !isAverage(output))) {
      const piece = task.zeroed ? this.#zeros.subarray(0, end - begin) : (sources.get(first(task)) as Bytes);
      work.push(this.#write(task.name, piece));
    }
    for (const task of pass.outputs.filter(isAverage)) {
      const slot = this.#averages[this.#nextAverage % averagesUnderWay] as Average;
      this.#nextAverage += 1;
      await slot.free;
      const average = slot.bytes.subarray(0, end - begin);
      sumInto(average, task, sources);
      slot.free = handled(Promise.all([this.#hash(`made ${task.name}`, average), this.#write(task.name, average)]));
      work.push(slot.free);
    }
    if (step.last) work.push(handled(this.#finish(step)));
    return { made: handled(Promise.all(work).then(() => undefined)) };
  }

  #hash(tensor: string, bytes: Bytes): Promise<void> {
    return handled(this.#hashThread.update(tensor, bytes));
  }

  #write(tensor: string, bytes: Bytes): Promise<void> {
    const { write, onWritten, signal } = this.#options;
    const written = async (): Promise<void> => {
      await write(tensor, bytes);
      signal?.throwIfAborted();
      onWritten(bytes.length);
    };
    return handled(written());
  }

  /** A copy has its source's hash: the bytes that were hashed are those that were written. */
  async #finish({ pass }: Step): Promise<void> {
    for (const tensor of pass.sources) this.#base.set(tensor, await this.#hashThread.digest(`base ${tensor}`));
    for (const task of pass.outputs) {
      if (task.zeroed) this.#made.set(task.name, await this.#zeroHash(task.bytes));
      else if (isAverage(task)) this.#made.set(task.name, await this.#hashThread.digest(`made ${task.name}`));
      else this.#made.set(task.name, this.#base.get(first(task)) as string);
    }
  }

  #zeroHash(bytes: number): Promise<string> {
    let hash = this.#zeroHashes.get(bytes);
    if (hash === undefined) {
      for (let done = 0; done < bytes; done += pieceBytes) {
        void this.#hash(`zeros ${bytes}`, this.#zeros.subarray(0, bytes - done));
      }
      hash = this.#hashThread.digest(`zeros ${bytes}`);
      this.#zeroHashes.set(bytes, hash);
    }
    return hash;
  }
}

function first(task: TensorTask): string {
  return task.sources[0]?.tensor ?? "";
}

function sumInto(out: Bytes, task: TensorTask, sources: ReadonlyMap<string, Bytes>): void {
  if (!isFloatDtype(task.dtype)) throw new Error(`${task.name}: tasks only average float tensors`);
  const from = task.sources.map(({ tensor }) => sources.get(tensor) as Bytes);
  const weights = task.sources.map(({ weight }) => weight);
  weightedSum(from, weights, task.dtype, out);
}
