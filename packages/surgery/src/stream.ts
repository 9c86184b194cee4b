import type { Checkpoint } from "@slayer/checkpoint";
import { isFloatDtype } from "@slayer/checkpoint";
import { weightedSum } from "./average.js";
import { HashThread } from "./hash-thread.js";
import type { Step } from "./passes.js";
import { isAverage, planPasses, steps } from "./passes.js";
import type { TensorTask } from "./tasks.js";

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

type Bytes = Uint8Array<SharedArrayBuffer>;

const mebibyte = 1024 * 1024;
/** Large enough for the disk, small enough to stay in a processor's cache from the read to the hash and the write. */
const pieceBytes = 2 * mebibyte;
/** All that is read at a time. There are two such windows. */
const windowBytes = 32 * mebibyte;
/** Averages that are on their way to the disk or the hash while the next one is computed. */
const averagesUnderWay = 4;

/**
 * Makes all tensors, reading every base tensor once. While one piece is averaged, hashed (on a thread of its own) and
 * written, the next is read. Holds two windows of 32 MiB and four averages of 2 MiB at most, whatever the model.
 */
export async function streamTensors(
  base: Checkpoint,
  tasks: readonly TensorTask[],
  options: StreamOptions,
): Promise<StreamHashes> {
  const passes = planPasses(tasks);
  let widest = 0;
  for (const step of steps(passes, pieceBytes, windowBytes)) widest = Math.max(widest, sourceBytes(step));
  const windows = [shared(widest), shared(widest)] as const;
  const hashThread = new HashThread();
  const maker = new Maker(hashThread, options);
  let ahead: { readonly step: Step; readonly pieces: Promise<Bytes[]> } | undefined;
  try {
    let turn = 0;
    for (const step of steps(passes, pieceBytes, windowBytes)) {
      const now = ahead;
      ahead = { step, pieces: handled(read(base, step, windows[turn % 2] as Bytes)) };
      turn += 1;
      if (now !== undefined) await maker.make(now.step, await now.pieces);
    }
    if (ahead !== undefined) await maker.make(ahead.step, await ahead.pieces);
    return maker.hashes;
  } finally {
    await Promise.allSettled([ahead?.pieces]);
    await hashThread.close();
  }
}

const shared = (bytes: number): Bytes => new Uint8Array(new SharedArrayBuffer(bytes));

/** A promise that is awaited later; where another one fails first, its own failure is no news. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

function sourceBytes({ pass, begin, end }: Step): number {
  return pass.sources.length * (end - begin);
}

/** The step's range of all its sources, side by side in `window`. */
async function read(base: Checkpoint, { pass, begin, end }: Step, window: Bytes): Promise<Bytes[]> {
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
  readonly #zeroHashes = new Map<number, string>();

  constructor(hashThread: HashThread, options: StreamOptions) {
    this.#hashThread = hashThread;
    this.#options = options;
  }

  get hashes(): StreamHashes {
    return { base: this.#base, made: this.#made };
  }

  async make(step: Step, pieces: readonly Bytes[]): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const { pass, begin, end } = step;
    const sources = new Map(pass.sources.map((tensor, i) => [tensor, pieces[i] as Bytes]));
    const work: Promise<unknown>[] = [];
    for (const [tensor, piece] of sources) work.push(this.#hash(`base ${tensor}`, piece));
    for (const task of pass.outputs.filter((output) => !isAverage(output))) {
      const piece = task.zeroed ? this.#zeros.subarray(0, end - begin) : (sources.get(first(task)) as Bytes);
      work.push(this.#write(task.name, piece));
      if (task.zeroed && !this.#zeroHashes.has(task.bytes)) work.push(this.#hash(`zeros ${task.bytes}`, piece));
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
    await Promise.all(work);
    if (step.last) await this.#finish(step);
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
      let hash = task.zeroed ? this.#zeroHashes.get(task.bytes) : this.#base.get(first(task));
      if (task.zeroed && hash === undefined) {
        hash = await this.#hashThread.digest(`zeros ${task.bytes}`);
        this.#zeroHashes.set(task.bytes, hash);
      } else if (isAverage(task)) {
        hash = await this.#hashThread.digest(`made ${task.name}`);
      }
      this.#made.set(task.name, hash as string);
    }
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
