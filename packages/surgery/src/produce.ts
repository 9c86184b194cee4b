import type { Checkpoint } from "@slayer/checkpoint";
import { isFloatDtype } from "@slayer/checkpoint";
import { weightedSum } from "./average.js";
import type { TensorTask } from "./tasks.js";
import { isCopy } from "./tasks.js";

/** Per source and per result; with f32 copies of each, an average of two holds about ten times this. */
export const chunkBytes = 4 * 1024 * 1024;

/**
 * The bytes of one new tensor, in pieces of at most `chunkBytes`; a piece is valid until the next is asked for.
 * `onSource` sees the bytes of every base tensor as they are read, in order.
 */
export async function* produce(
  base: Checkpoint,
  task: TensorTask,
  onSource?: (tensor: string, piece: Uint8Array) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (task.zeroed) {
    const zeros = new Uint8Array(Math.min(task.bytes, chunkBytes));
    for (let done = 0; done < task.bytes; done += zeros.length) yield zeros.subarray(0, task.bytes - done);
    return;
  }
  for await (const pieces of lockstep(base, task, onSource)) {
    if (isCopy(task)) {
      yield pieces[0] as Uint8Array;
    } else {
      if (!isFloatDtype(task.dtype)) throw new Error(`${task.name}: tasks only average float tensors`);
      yield weightedSum(
        pieces,
        task.sources.map((source) => source.weight),
        task.dtype,
      );
    }
  }
}

/** The same range of all sources at a time. They have one shape and dtype, so their pieces are equally long. */
async function* lockstep(
  base: Checkpoint,
  task: TensorTask,
  onSource: ((tensor: string, piece: Uint8Array) => void) | undefined,
): AsyncGenerator<Uint8Array[], void, undefined> {
  const streams = task.sources.map((source) => base.chunks(source.tensor, chunkBytes));
  for (;;) {
    const pieces: Uint8Array[] = [];
    for (const [index, stream] of streams.entries()) {
      const next = await stream.next();
      if (next.done === true) return;
      pieces.push(next.value);
      onSource?.(task.sources[index]?.tensor ?? "", next.value);
    }
    yield pieces;
  }
}
