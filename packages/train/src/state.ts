import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointWriter, encodeFromF32, TensorFiles, withOutputDirectory, writeFileAtomic } from "@slayer/checkpoint";
import type { Position } from "@slayer/data";
import { type AdamW, companionName } from "@slayer/optim";
import { z } from "zod";
import { TrainingError } from "./errors.js";
import { allocatorState } from "./rank-allocator.js";

/** What beside the tensors a run needs to go on exactly where it was. */
export interface TrainingState {
  /** Optimizer steps done. */
  step: number;
  /** Of them without an update, because something was wrong with the loss or the gradient. */
  skipped: number;
  /** Tokens processed. */
  tokens: number;
  position: Position;
  /** Fingerprint of the model trained from, whose frozen weights are not in the checkpoints; early versions did not keep it. */
  model?: string | undefined;
}

const stateSchema = z.object({
  version: z.literal(1),
  step: z.int().nonnegative(),
  skipped: z.int().nonnegative().default(0),
  tokens: z.int().nonnegative(),
  /** Checked in full by the data package when it is used. */
  position: z.looseObject({}),
  model: z.string().optional(),
  /** Of the tensor file. */
  sha256: z.string(),
});

const STATE_FILE = "state.json";
const TENSORS_FILE = "model.safetensors";
const directoryName = (step: number) => `step-${String(step).padStart(8, "0")}`;

/**
 * For each trainable parameter its f32 master and AdamW's moments, and what AdaLoRA remembers; by their names in the file and in
 * the store.
 */
function savedTensors(optimizer: AdamW): { name: string; inStore: string; shape: readonly number[] }[] {
  const moments = optimizer.trainable.flatMap(({ name, shape }) => {
    const [m, v] = [companionName("adamw.m", name), companionName("adamw.v", name)];
    return [
      { name, inStore: optimizer.masterName(name), shape },
      { name: m, inStore: m, shape },
      { name: v, inStore: v, shape },
    ];
  });
  return [...moments, ...allocatorState(optimizer)];
}

/** Bytes of one checkpoint's tensors. */
export function stateBytes(optimizer: AdamW): number {
  return savedTensors(optimizer).reduce((total, { shape }) => total + 4 * shape.reduce((a, b) => a * b, 1), 0);
}

/** Values of a checkpoint's tensors by name, one at a time. */
export type StateReader = (name: string) => Promise<Float32Array>;

/** Reads from the device when a tensor is asked for: training must wait until all are written. */
export function reader(optimizer: AdamW): StateReader {
  const places = new Map(savedTensors(optimizer).map(({ name, inStore }) => [name, inStore]));
  return async (name) => (await optimizer.store.read(places.get(name)!)) as Float32Array;
}

/** Reads all tensors from the device now; training can go on meanwhile. */
export async function snapshot(optimizer: AdamW): Promise<StateReader> {
  const read = reader(optimizer);
  const values = new Map<string, Float32Array>();
  for (const { name } of savedTensors(optimizer)) values.set(name, await read(name));
  return async (name) => {
    const tensor = values.get(name)!;
    values.delete(name); // written once, then no longer needed
    return tensor;
  };
}

/**
 * Saves the trainable parameters, their moments and `state` under `root`/step-…, atomically and with a checksum; then removes
 * all but the last `keep` such checkpoints. Frozen parameters are the base model's and are not written.
 */
export async function saveState(
  root: string,
  optimizer: AdamW,
  read: StateReader,
  state: TrainingState,
  keep: number,
): Promise<void> {
  const tensors = savedTensors(optimizer);
  const neededBytes = stateBytes(optimizer);
  const target = join(root, directoryName(state.step));
  await withOutputDirectory(target, { overwrite: true, neededBytes }, async (dir) => {
    const writer = await CheckpointWriter.create(
      dir,
      tensors.map(({ name, shape }) => ({ name, shape, dtype: "F32" })),
      { maxShardBytes: Number.MAX_SAFE_INTEGER },
    );
    try {
      for (const { name } of tensors) await writer.write(name, encodeFromF32(await read(name), "F32"));
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
    const sha256 = await fileHash(join(dir, TENSORS_FILE));
    await writeFileAtomic(join(dir, STATE_FILE), `${JSON.stringify({ version: 1, ...state, sha256 }, null, 2)}\n`);
  });
  const old = (await savedSteps(root)).slice(keep);
  for (const step of old) await removeDirectory(root, directoryName(step));
  await removeLeftovers(root);
}

/**
 * Restores the newest undamaged checkpoint under `root` into the optimizer's store; null if none was written yet. Damaged ones are
 * reported to `warn` and passed over.
 * @throws TrainingError where all are damaged
 */
export async function restoreState(
  root: string,
  optimizer: AdamW,
  warn: (message: string) => void,
): Promise<TrainingState | null> {
  const steps = await savedSteps(root);
  for (const step of steps) {
    const dir = join(root, directoryName(step));
    try {
      return await readState(dir, optimizer);
    } catch (error) {
      warn(`${dir} is damaged and is passed over: ${(error as Error).message}`);
    }
  }
  if (steps.length > 0) {
    throw new TrainingError(`${root}: none of the checkpoints there can be read; --overwrite begins the run anew`);
  }
  return null;
}

async function readState(dir: string, optimizer: AdamW): Promise<TrainingState> {
  const parsed = stateSchema.safeParse(JSON.parse(await readFile(join(dir, STATE_FILE), "utf8")));
  if (!parsed.success) throw new TrainingError(`${STATE_FILE}: ${z.prettifyError(parsed.error)}`);
  const { step, skipped, tokens, position, model, sha256 } = parsed.data;
  if ((await fileHash(join(dir, TENSORS_FILE))) !== sha256)
    throw new TrainingError(`${TENSORS_FILE}: checksum mismatch`);
  const files = await TensorFiles.openTensors(dir);
  try {
    for (const { name, inStore } of savedTensors(optimizer)) {
      await optimizer.store.write(inStore, await files.readF32(name));
    }
    await optimizer.roundMasters();
  } finally {
    await files.close();
  }
  return { step, skipped, tokens, position: position as unknown as Position, model };
}

/** Steps of the checkpoints under `root`, newest first. */
async function savedSteps(root: string): Promise<number[]> {
  const entries = await readdir(root).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return entries
    .flatMap((entry) => /^step-(\d{8,})$/.exec(entry)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => b - a);
}

/** Renamed first, so that a checkpoint half removed is not taken for one. */
async function removeDirectory(root: string, name: string): Promise<void> {
  const doomed = join(root, `.${name}.removed`);
  await rm(doomed, { recursive: true, force: true });
  await rename(join(root, name), doomed);
  await rm(doomed, { recursive: true, force: true });
}

/** What processes that were killed while they wrote have left behind. Only one run writes here at a time. */
async function removeLeftovers(root: string): Promise<void> {
  for (const entry of await readdir(root)) {
    if (/^\.step-\d+\.(partial|old|removed)/.test(entry)) await rm(join(root, entry), { recursive: true, force: true });
  }
}

async function fileHash(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}
