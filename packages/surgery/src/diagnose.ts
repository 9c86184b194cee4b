import type { Checkpoint, FloatDtype } from "@slayer/checkpoint";
import { blockName, blockOf, decodeToF32, encodeFromF32, isFloatDtype } from "@slayer/checkpoint";
import { weightedSum, weightedSumF32 } from "./average.js";
import type { VerifyProblem, VerifyProblemCode } from "./problems.js";
import { chunkBytes } from "./produce.js";
import type { TensorTask } from "./tasks.js";
import { isCopy } from "./tasks.js";

/** Something a wrong tensor might hold: its bytes by range, so that most candidates fall after a few kilobytes. */
interface Candidate {
  readonly code: VerifyProblemCode;
  readonly holds: string;
  readonly range: (begin: number, end: number) => Promise<Uint8Array>;
}

/** Enough elements to tell two trained tensors apart. */
const probeBytes = 4096;

/**
 * Names what a tensor with the wrong content holds instead: zeros, another block, another mean, a mean rounded
 * otherwise. Undefined when none of these explains every byte.
 */
export async function diagnose(
  base: Checkpoint,
  expanded: Checkpoint,
  task: TensorTask,
): Promise<VerifyProblem | undefined> {
  for (const candidate of candidates(base, task)) {
    if (await holds(expanded, task, candidate)) {
      const message = `expected ${describeTask(task)}, it holds ${candidate.holds}`;
      return { code: task.zeroed ? "not-zeroed" : candidate.code, tensor: task.name, message };
    }
  }
  return undefined;
}

/** What a tensor should be, for messages. */
export function describeTask(task: TensorTask): string {
  if (task.zeroed) return "zeros";
  const names = task.sources.map((source) => source.tensor).join(", ");
  return isCopy(task) ? `a copy of ${names}` : `the weighted sum of ${names}`;
}

async function holds(expanded: Checkpoint, task: TensorTask, candidate: Candidate): Promise<boolean> {
  let step = probeBytes;
  for (let begin = 0; begin < task.bytes;) {
    const end = Math.min(task.bytes, begin + step);
    const [actual, guess] = await Promise.all([expanded.readRange(task.name, begin, end), candidate.range(begin, end)]);
    if (Buffer.compare(actual, guess) !== 0) return false;
    begin = end;
    step = chunkBytes;
  }
  return true;
}

function* candidates(base: Checkpoint, task: TensorTask): Generator<Candidate> {
  const zeros = (begin: number, end: number): Promise<Uint8Array> => Promise.resolve(new Uint8Array(end - begin));
  if (!task.zeroed) yield { code: "unexpected-zeros", holds: "zeros", range: zeros };
  yield* roundings(base, task);
  const suffix = blockOf(task.name)?.suffix;
  if (suffix === undefined) return;

  const sameKind = (tensor: string): boolean => base.info(tensor).dtype === task.dtype;
  const depth = base.config.blocks;
  for (let block = 0; block < depth; block += 1) {
    const tensor = blockName(block, suffix);
    const code = isCopy(task) ? "wrong-block" : "not-averaged";
    if (sameKind(tensor)) yield { code, holds: tensor, range: (begin, end) => base.readRange(tensor, begin, end) };
  }
  const { dtype } = task;
  if (!isFloatDtype(dtype)) return;
  for (const size of [2, 3]) {
    for (let first = 0; first + size <= depth; first += 1) {
      const tensors = Array.from({ length: size }, (_, offset) => blockName(first + offset, suffix));
      if (!tensors.every(sameKind)) continue;
      const weights = tensors.map(() => 1 / size);
      const range = async (begin: number, end: number): Promise<Uint8Array> =>
        weightedSum(await readAll(base, tensors, begin, end), weights, dtype);
      yield { code: "wrong-average", holds: `the mean of ${tensors.join(", ")}`, range };
    }
  }
}

/** The planned average itself, at a precision it should not have. */
function* roundings(base: Checkpoint, task: TensorTask): Generator<Candidate> {
  const { dtype, sources } = task;
  if (sources.length < 2 || !isFloatDtype(dtype)) return;
  const tensors = sources.map((source) => source.tensor);
  const weights = sources.map((source) => source.weight);
  const rounded = (round: (sum: Float32Array) => Uint8Array) => {
    return async (begin: number, end: number): Promise<Uint8Array> =>
      round(weightedSumF32(await readAll(base, tensors, begin, end), weights, dtype));
  };
  const coarser: readonly FloatDtype[] = dtype === "F32" ? ["BF16", "F16"] : dtype === "F16" ? ["BF16"] : ["F16"];
  for (const through of coarser) {
    const round = (sum: Float32Array): Uint8Array =>
      encodeFromF32(decodeToF32(encodeFromF32(sum, through), through), dtype);
    yield { code: "rounded-average", holds: `that average rounded to ${through} on the way`, range: rounded(round) };
  }
  if (dtype === "BF16") {
    yield { code: "rounded-average", holds: "that average cut off instead of rounded", range: rounded(upperHalves) };
  }
}

/** The upper 16 bits of each f32: bfloat16 rounded toward zero. */
function upperHalves(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return new Uint8Array(Uint16Array.from(bits, (word) => word >>> 16).buffer);
}

function readAll(base: Checkpoint, tensors: readonly string[], begin: number, end: number): Promise<Uint8Array[]> {
  return Promise.all(tensors.map((tensor) => base.readRange(tensor, begin, end)));
}
