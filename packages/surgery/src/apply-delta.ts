import { copyFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { TensorFiles as Files } from "@slayer/checkpoint";
import { Checkpoint, CheckpointError, CheckpointWriter, TensorFiles, withOutputDirectory } from "@slayer/checkpoint";
import type { Delta, DeltaTensor } from "./delta-record.js";
import { CARRIED_FOLDER, DELTA_FILE, readDelta } from "./delta-record.js";
import { fileHash } from "./file-hash.js";
import { keepSafe } from "./keep-safe.js";
import type { DeltaOptions } from "./pack-delta.js";
import { progressOf } from "./pack-delta.js";
import type { TensorSource } from "./stream.js";
import { streamTensors } from "./stream.js";
import type { TensorTask } from "./tasks.js";

export interface ApplyResult {
  readonly tensors: { readonly fromBase: number; readonly stored: number };
  readonly bytesWritten: number;
}

/**
 * Makes the model that the delta in `deltaDir` is the difference of: the same files with the same tensors, each checked
 * against its SHA-256, as are the other files. The directory appears complete and right or not at all.
 *
 * Throws `CheckpointError`: "bad-delta" where the base is another one or the delta is damaged, naming the tensor.
 */
export async function applyDelta(
  base: Checkpoint,
  deltaDir: string,
  outDir: string,
  options: DeltaOptions = {},
): Promise<ApplyResult> {
  const { overwrite = false, signal } = options;
  const delta = await readDelta(deltaDir);
  const stored = await TensorFiles.openTensors(deltaDir);
  try {
    for (const dir of [base.dir, stored.dir]) await keepSafe(dir, outDir);
    const tasks = tasksOf(delta, base, stored);
    const tensorBytes = tasks.reduce((sum, { bytes }) => sum + bytes, 0);
    const neededBytes = tensorBytes + (await carriedBytes(deltaDir, delta));
    const progress = progressOf(options, tensorBytes);
    return await withOutputDirectory(outDir, { overwrite, neededBytes }, async (dir) => {
      const writer = await CheckpointWriter.createFiles(dir, delta.files);
      try {
        const { made } = await streamTensors(sourceOf(base, stored), tasks, {
          write: (name, bytes) => writer.write(name, bytes),
          onWritten: progress,
          signal,
        });
        checkHashes(delta, made, base, stored);
        await writer.finish();
      } catch (error) {
        await writer.abort();
        throw error;
      }
      for (const [name, hash] of Object.entries(delta.carried)) {
        await copyFile(join(deltaDir, CARRIED_FOLDER, name), join(dir, name));
        if ((await fileHash(join(dir, name))) !== hash) throw damaged(join(deltaDir, CARRIED_FOLDER, name));
      }
      const model = await Checkpoint.open(dir);
      model.validate();
      await model.close();
      signal?.throwIfAborted();
      const fromBase = delta.files
        .flatMap(({ tensors }) => tensors)
        .filter((tensor) => tensor.base !== undefined).length;
      return { tensors: { fromBase, stored: tasks.length - fromBase }, bytesWritten: tensorBytes };
    });
  } finally {
    await stored.close();
  }
}

/** Names of tensors of two checkpoints side by side. */
const nameIn = { base: (name: string): string => `base ${name}`, delta: (name: string): string => `delta ${name}` };

function sourceOf(base: Files, stored: Files): TensorSource {
  return {
    readInto: (name, begin, into) =>
      name.startsWith("base ")
        ? base.readInto(name.slice(5), begin, into)
        : stored.readInto(name.slice(6), begin, into),
  };
}

/** Every tensor as a copy, once it is sure that base and delta have one of this dtype and shape. */
function tasksOf(delta: Delta, base: Files, stored: Files): TensorTask[] {
  const tensors = delta.files.flatMap((file) => file.tensors);
  const listed = new Set(tensors.filter((tensor) => tensor.base === undefined).map(({ name }) => name));
  const extra = [...stored.tensors.keys()].find((name) => !listed.has(name));
  if (extra !== undefined) throw new CheckpointError("bad-delta", stored.dir, `${DELTA_FILE} does not list it`, extra);
  return tensors.map(({ name, dtype, shape, base: baseName }) => {
    const from = baseName === undefined ? stored : base;
    const info = from.tensors.get(baseName ?? name);
    const fits =
      info?.dtype === dtype && info.shape.length === shape.length && shape.every((n, i) => n === info.shape[i]);
    if (!fits) {
      const wanted = `expected ${dtype} [${shape.join(", ")}]`;
      const got = info === undefined ? "it is missing" : `it is ${info.dtype} [${info.shape.join(", ")}]`;
      const hint = from === base ? "; is this the base that the delta was made from?" : "";
      throw new CheckpointError("bad-delta", from.dir, `${wanted}, ${got}${hint}`, baseName ?? name);
    }
    const tensor = baseName === undefined ? nameIn.delta(name) : nameIn.base(baseName);
    return { name, dtype, shape, bytes: info.end - info.begin, sources: [{ tensor, weight: 1 }], zeroed: false };
  });
}

function checkHashes(delta: Delta, made: ReadonlyMap<string, string>, base: Files, stored: Files): void {
  const wrong = (tensor: DeltaTensor): boolean => made.get(tensor.name) !== tensor.sha256;
  const first = delta.files.flatMap((file) => file.tensors).find(wrong);
  if (first === undefined) return;
  const problem = `has SHA-256 ${made.get(first.name)}, the delta says ${first.sha256}`;
  if (first.base === undefined) {
    throw new CheckpointError("bad-delta", stored.dir, `${problem}; fetch the delta again`, first.name);
  }
  const hint = "; is this the base that the delta was made from?";
  throw new CheckpointError("bad-delta", base.dir, problem + hint, first.base);
}

async function carriedBytes(dir: string, { carried }: Delta): Promise<number> {
  let bytes = 0;
  for (const name of Object.keys(carried)) {
    const file = join(dir, CARRIED_FOLDER, name);
    const info = await stat(file).catch(() => undefined);
    if (info?.isFile() !== true) throw new CheckpointError("missing-file", file, `${DELTA_FILE} lists it`);
    bytes += info.size;
  }
  return bytes;
}

function damaged(file: string): CheckpointError {
  return new CheckpointError("bad-delta", file, "its SHA-256 is not the one that the delta says; fetch it again");
}
