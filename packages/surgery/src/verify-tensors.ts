import type { Checkpoint } from "@slayer/checkpoint";
import { describeTask, diagnose } from "./diagnose.js";
import { TensorHashes } from "./hashes.js";
import type { VerifyProblem } from "./problems.js";
import { chunkBytes, produce } from "./produce.js";
import type { TensorTask } from "./tasks.js";
import { isCopy } from "./tasks.js";

export interface TensorComparison {
  readonly problems: readonly VerifyProblem[];
  readonly copied: number;
  readonly averaged: number;
  readonly zeroed: number;
  /** Hashes of the new tensors that are as planned. */
  readonly right: ReadonlyMap<string, string>;
  /** Hashes of every base tensor that the plan uses. */
  readonly base: ReadonlyMap<string, string>;
}

/** Makes every planned tensor again and compares it with the one in `expanded`, byte by byte. */
export async function compareTensors(
  base: Checkpoint,
  expanded: Checkpoint,
  tasks: readonly TensorTask[],
  options: { onProgress?: (done: number, total: number) => void; signal?: AbortSignal },
): Promise<TensorComparison> {
  const planned = new Set(tasks.map((task) => task.name));
  const problems: VerifyProblem[] = [...expanded.tensors.keys()]
    .filter((tensor) => !planned.has(tensor))
    .map((tensor) => ({ code: "extra-tensor", tensor, message: "the plan has no such tensor" }));
  const baseHashes = new TensorHashes();
  const right = new Map<string, string>();
  const counts = { copied: 0, averaged: 0, zeroed: 0 };
  const total = tasks.reduce((sum, task) => sum + task.bytes, 0);
  let done = 0;
  for (const task of tasks) {
    const unfit = misfit(expanded, task);
    const hash = new TensorHashes();
    const difference = new Difference();
    const actual = unfit === undefined ? expanded.chunks(task.name, chunkBytes) : undefined;
    for await (const piece of produce(base, task, (tensor, bytes) => baseHashes.update(tensor, bytes))) {
      options.signal?.throwIfAborted();
      const next = await actual?.next();
      if (next?.done === false) {
        hash.update(task.name, next.value);
        difference.add(piece, next.value);
      }
      done += piece.length;
      options.onProgress?.(done, total);
    }
    for (const source of task.sources) baseHashes.finish(source.tensor);
    if (unfit !== undefined) {
      problems.push(unfit);
    } else if (difference.bytes > 0) {
      problems.push((await diagnose(base, expanded, task)) ?? unexplained(task, difference));
    } else {
      right.set(task.name, hash.finish(task.name));
      counts[task.zeroed ? "zeroed" : isCopy(task) ? "copied" : "averaged"] += 1;
    }
  }
  return { problems, ...counts, right, base: new Map(baseHashes.entries()) };
}

function misfit(expanded: Checkpoint, task: TensorTask): VerifyProblem | undefined {
  const info = expanded.tensors.get(task.name);
  const tensor = task.name;
  if (info === undefined) return { code: "missing-tensor", tensor, message: `expected ${describeTask(task)}` };
  if (info.shape.length !== task.shape.length || info.shape.some((size, axis) => size !== task.shape[axis])) {
    const message = `expected shape [${task.shape.join(", ")}], it is [${info.shape.join(", ")}]`;
    return { code: "wrong-shape", tensor, message };
  }
  if (info.dtype !== task.dtype) {
    return { code: "wrong-dtype", tensor, message: `expected ${task.dtype}, it is ${info.dtype}` };
  }
  return undefined;
}

/** Counts bytes that differ between two streams of equal pieces, and remembers the first. */
class Difference {
  bytes = 0;
  first = -1;
  #offset = 0;

  add(wanted: Uint8Array, got: Uint8Array): void {
    if (Buffer.compare(wanted, got) !== 0) {
      for (let i = 0; i < wanted.length; i += 1) {
        if (wanted[i] === got[i]) continue;
        if (this.bytes === 0) this.first = this.#offset + i;
        this.bytes += 1;
      }
    }
    this.#offset += wanted.length;
  }
}

function unexplained(task: TensorTask, difference: Difference): VerifyProblem {
  const message =
    `expected ${describeTask(task)}; ${difference.bytes} of ${task.bytes} bytes differ, ` +
    `the first at byte ${difference.first}`;
  return { code: task.zeroed ? "not-zeroed" : "different-bytes", tensor: task.name, message };
}
