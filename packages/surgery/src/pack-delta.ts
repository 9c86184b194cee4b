import { copyFile, mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Checkpoint, TensorFiles } from "@slayer/checkpoint";
import {
  CheckpointError,
  CheckpointWriter,
  listModelFiles,
  withOutputDirectory,
  writeFileAtomic,
} from "@slayer/checkpoint";
import type { Delta, DeltaTensor } from "./delta-record.js";
import { CARRIED_FOLDER, DELTA_FILE } from "./delta-record.js";
import { fileHash } from "./file-hash.js";
import { keepSafe } from "./keep-safe.js";
import { streamTensors } from "./stream.js";
import type { TensorTask } from "./tasks.js";

export interface DeltaOptions {
  /** Replace an existing output directory. Default false: an existing one is an error. */
  readonly overwrite?: boolean;
  /** Called after every piece with bytes of tensor data done and to do. */
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  /** Stops the work; nothing is left behind, and the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface PackResult {
  readonly delta: Delta;
  /** Tensors that the delta holds, and those that it takes from the base. */
  readonly stored: { readonly tensors: number; readonly bytes: number };
  readonly fromBase: { readonly tensors: number; readonly bytes: number };
  /** Other files of the model that are not part of the delta. */
  readonly left: readonly string[];
}

/**
 * Writes `model` as its difference from `base`: a directory with the tensors that the base does not have, byte for byte,
 * under any name, and a record of all others. For a post-trained expansion those are the new and updated blocks.
 *
 * Both checkpoints are read once, what is stored twice. Throws `CheckpointError` for a bad checkpoint, an existing output
 * or a full disk.
 */
export async function packDelta(
  base: Checkpoint,
  model: Checkpoint,
  outDir: string,
  options: DeltaOptions = {},
): Promise<PackResult> {
  const { overwrite = false, signal } = options;
  base.validate();
  model.validate();
  for (const { dir } of [base, model]) await keepSafe(dir, outDir);
  const progress = progressOf(options, bytesOf(base) + bytesOf(model));
  const nothing = { write: () => Promise.resolve(), onWritten: progress, signal };
  const baseHashes = (await streamTensors(base, copies(base, base.tensors.keys()), nothing)).made;
  const modelHashes = (await streamTensors(model, copies(model, model.tensors.keys()), nothing)).made;

  const inBase = new Map<string, string>();
  for (const [name, hash] of baseHashes) {
    const content = contentOf(base, name, hash);
    if (!inBase.has(content)) inBase.set(content, name);
  }
  const entry = (name: string): DeltaTensor => {
    const { dtype, shape } = model.info(name);
    const hash = modelHashes.get(name) as string;
    const same = inBase.get(contentOf(model, name, hash));
    return { name, dtype, shape: [...shape], sha256: hash, ...(same === undefined ? {} : { base: same }) };
  };
  const files = model.files.map((file) => ({
    file,
    tensors: [...model.tensors.values()].filter((info) => basename(info.file) === file).map(({ name }) => entry(name)),
  }));
  const tensors = files.flatMap((file) => file.tensors);
  const stored = copies(
    model,
    tensors.filter((tensor) => tensor.base === undefined).map(({ name }) => name),
  );
  const side = await listModelFiles(model.dir);
  const storedBytes = stored.reduce((sum, { bytes }) => sum + bytes, 0);

  return withOutputDirectory(outDir, { overwrite, neededBytes: storedBytes + side.bytes }, async (dir) => {
    const { made } = await writeTensors(dir, stored, (writer) =>
      streamTensors(model, stored, {
        write: (name, bytes) => writer.write(name, bytes),
        onWritten: () => undefined,
        signal,
      }),
    );
    const changed = stored.find(({ name }) => made.get(name) !== modelHashes.get(name));
    if (changed !== undefined) {
      throw new CheckpointError("bad-delta", model.dir, "changed while it was packed; pack it again", changed.name);
    }
    await mkdir(join(dir, CARRIED_FOLDER));
    const carried: Record<string, string> = {};
    for (const name of side.copied) {
      await copyFile(join(model.dir, name), join(dir, CARRIED_FOLDER, name));
      carried[name] = await fileHash(join(dir, CARRIED_FOLDER, name));
    }
    const delta: Delta = { version: 1, base: { name: basename(base.dir) }, files, carried };
    await writeFileAtomic(join(dir, DELTA_FILE), `${JSON.stringify(delta, null, 1)}\n`);
    await writeFileAtomic(join(dir, "README.md"), card(basename(base.dir), stored.length, tensors.length));
    const all = bytesOf(model);
    return {
      delta,
      stored: { tensors: stored.length, bytes: storedBytes },
      fromBase: { tensors: tensors.length - stored.length, bytes: all - storedBytes },
      left: side.left,
    };
  });
}

/** Runs `fill` with a writer for `tasks` in `dir`; a failure leaves none of their files. */
async function writeTensors<T>(
  dir: string,
  tasks: readonly TensorTask[],
  fill: (writer: CheckpointWriter) => Promise<T>,
): Promise<T> {
  const writer = await CheckpointWriter.create(dir, tasks);
  try {
    const result = await fill(writer);
    await writer.finish();
    return result;
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** Tasks that copy tensors under their own names. */
function copies(from: TensorFiles, names: Iterable<string>): TensorTask[] {
  return Array.from(names, (name) => {
    const { dtype, shape, begin, end } = from.info(name);
    return { name, dtype, shape, bytes: end - begin, sources: [{ tensor: name, weight: 1 }], zeroed: false };
  });
}

const contentOf = (files: TensorFiles, name: string, hash: string): string => {
  const { dtype, shape } = files.info(name);
  return `${dtype} ${shape.join(" ")} ${hash}`;
};

function bytesOf(files: TensorFiles): number {
  return [...files.tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
}

/** Adds up pieces for `onProgress`. */
export function progressOf({ onProgress }: DeltaOptions, total: number): (bytes: number) => void {
  let done = 0;
  return (bytes) => {
    done += bytes;
    onProgress?.(done, total);
  };
}

function card(baseName: string, stored: number, all: number): string {
  return `# A model as its difference from ${baseName.replace(/[^\w .-]/g, "_")}

This is not a model yet: it holds ${stored} of the model's ${all} tensors, the others are the base's. With the base at hand,

    slayer unpack BASE THIS --out MODEL

makes the model and checks every byte of it against the SHA-256 in \`${DELTA_FILE}\`. The base model's licence applies.
`;
}
