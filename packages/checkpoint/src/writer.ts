import assert from "node:assert/strict";
import { open, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";

import type { StoredDtype } from "./dtype.js";
import { writeFileAtomic } from "./directory.js";
import { CheckpointError, systemErrorCode } from "./errors.js";
import { writeFully } from "./io.js";
import { byteLength } from "./safetensors.js";
import { INDEX_FILE, SINGLE_FILE } from "./shards.js";

/** A tensor to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
}

/** One file to be written. */
export interface ShardPlan {
  readonly file: string;
  readonly tensors: readonly (TensorSpec & { readonly bytes: number })[];
  readonly bytes: number;
}

/** The default of Transformers' `save_pretrained` up to version 4 (decimal gigabytes). */
const DEFAULT_MAX_SHARD_BYTES = 5_000_000_000;

/**
 * Split tensors, in order, into files of at most `maxShardBytes` of tensor data; a larger tensor gets a file of its
 * own. One file is called `model.safetensors`, several `model-00001-of-0000N.safetensors`.
 * @throws CheckpointError "duplicate-key" | "size-overflow"
 */
export function planShards(
  specs: readonly TensorSpec[],
  maxShardBytes: number = DEFAULT_MAX_SHARD_BYTES,
  dir = ".",
): ShardPlan[] {
  assert(maxShardBytes > 0, `maxShardBytes must be positive, it is ${maxShardBytes}`);
  const shards: (TensorSpec & { bytes: number })[][] = [[]];
  const names = new Set<string>(["__metadata__"]);
  let shardBytes = 0;
  for (const spec of specs) {
    if (names.has(spec.name)) throw new CheckpointError("duplicate-key", dir, "named twice, or reserved", spec.name);
    names.add(spec.name);
    const bytes = byteLength(spec.dtype, spec.shape, dir, spec.name);
    if (shardBytes > 0 && shardBytes + bytes > maxShardBytes) {
      shards.push([]);
      shardBytes = 0;
    }
    shards[shards.length - 1]?.push({ ...spec, bytes });
    shardBytes += bytes;
  }
  const number = (i: number): string => String(i).padStart(5, "0");
  return shards.map((tensors, i) => ({
    file: shards.length === 1 ? SINGLE_FILE : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`,
    tensors,
    bytes: tensors.reduce((sum, t) => sum + t.bytes, 0),
  }));
}

/**
 * Length prefix and JSON header, padded with spaces to a multiple of 8 bytes. Written entry by entry, because an object
 * would move names like "7" to the front.
 */
function headerBytes(shard: ShardPlan): Uint8Array {
  const entries = ['"__metadata__":{"format":"pt"}'];
  let begin = 0;
  for (const { name, dtype, shape, bytes } of shard.tensors) {
    const end = begin + bytes;
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
    begin = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  return bytes;
}

/**
 * Writes a checkpoint's safetensors files as a stream: names, dtypes and shapes are known at the start, the data follow
 * tensor by tensor in that order, in pieces of any size. Never holds more than the piece it was given.
 * For a directory that appears whole or not at all, write inside {@link withOutputDirectory}.
 */
export class CheckpointWriter {
  readonly #dir: string;
  readonly #shards: readonly ShardPlan[];
  #shard = -1;
  #tensor = 0;
  /** Bytes of the current tensor already written. */
  #done = 0;
  #handle: FileHandle | null = null;
  #state: "open" | "closed" = "open";

  private constructor(dir: string, shards: readonly ShardPlan[]) {
    this.#dir = dir;
    this.#shards = shards;
  }

  /**
   * @param dir an existing directory
   * @param specs all tensors, in the order in which they will be written
   * @param options maxShardBytes: tensor bytes per file, default 5 · 10^9
   * @throws CheckpointError "duplicate-key", "size-overflow", "exists", "no-space"
   */
  static async create(
    dir: string,
    specs: readonly TensorSpec[],
    options: { readonly maxShardBytes?: number } = {},
  ): Promise<CheckpointWriter> {
    const writer = new CheckpointWriter(dir, planShards(specs, options.maxShardBytes, dir));
    await writer.#guard(() => writer.#openNextShard());
    return writer;
  }

  /** Write the next bytes of the tensor whose turn it is. Empty tensors need no call. */
  async write(name: string, chunk: Uint8Array): Promise<void> {
    assert(this.#state === "open", "the writer is closed");
    if (chunk.length === 0) return;
    await this.#guard(async () => {
      await this.#skipFinished();
      const tensor = this.#shards[this.#shard]?.tensors[this.#tensor];
      assert(tensor !== undefined, `all tensors are written, ${name} came after them`);
      assert(tensor.name === name, `expected data of ${tensor.name}, got data of ${name}`);
      const left = tensor.bytes - this.#done;
      assert(chunk.length <= left, `${name} has ${left} bytes left, got ${chunk.length}`);
      assert(this.#handle !== null);
      await writeFully(this.#handle, this.#path(), chunk);
      this.#done += chunk.length;
    });
  }

  /**
   * Flush everything to the disk and, where there are several files, write the index.
   * @returns names of the written files, and bytes of tensor data (the index's `metadata.total_size`)
   */
  async finish(): Promise<{ files: string[]; totalBytes: number }> {
    assert(this.#state === "open", "the writer is closed");
    const files = this.#shards.map((shard) => shard.file);
    const totalBytes = this.#shards.reduce((sum, shard) => sum + shard.bytes, 0);
    await this.#guard(async () => {
      await this.#skipFinished();
      const missing = this.#shards[this.#shard]?.tensors[this.#tensor];
      assert(missing === undefined, `${missing?.name} lacks ${(missing?.bytes ?? 0) - this.#done} bytes`);
      await this.#closeShard();
      if (files.length > 1) {
        const entries = this.#shards.flatMap((shard) => shard.tensors.map((t) => [t.name, shard.file] as const));
        const weight_map = Object.fromEntries(entries);
        const index = { metadata: { total_size: totalBytes }, weight_map };
        await writeFileAtomic(join(this.#dir, INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`);
        files.push(INDEX_FILE);
      }
    });
    this.#state = "closed";
    return { files, totalBytes };
  }

  /** Close and delete what was written. Does nothing after {@link finish}. */
  async abort(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    await this.#handle?.close();
    this.#handle = null;
    for (const { file } of this.#shards.slice(0, this.#shard + 1)) await rm(join(this.#dir, file), { force: true });
  }

  /** Any failure leaves nothing behind. */
  async #guard(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      await this.abort();
      throw error;
    }
  }

  /** Move past complete tensors (empty ones are complete at once) and, at the end of a shard, to the next file. */
  async #skipFinished(): Promise<void> {
    for (let shard = this.#shards[this.#shard]; shard !== undefined; shard = this.#shards[this.#shard]) {
      const tensor = shard.tensors[this.#tensor];
      if (tensor === undefined) {
        if (this.#shard === this.#shards.length - 1) return;
        await this.#closeShard();
        await this.#openNextShard();
      } else if (this.#done === tensor.bytes) {
        this.#tensor++;
        this.#done = 0;
      } else return;
    }
  }

  #path(): string {
    return join(this.#dir, this.#shards[this.#shard]?.file ?? SINGLE_FILE);
  }

  async #openNextShard(): Promise<void> {
    const shard = this.#shards[this.#shard + 1];
    assert(shard !== undefined);
    const file = join(this.#dir, shard.file);
    try {
      this.#handle = await open(file, "wx");
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      throw new CheckpointError("exists", file, "the file exists already; choose an empty directory");
    }
    this.#shard++; // only now: abort must not delete a file that was there before
    this.#tensor = 0;
    this.#done = 0;
    await writeFully(this.#handle, file, headerBytes(shard));
  }

  async #closeShard(): Promise<void> {
    await this.#handle?.sync();
    await this.#handle?.close();
    this.#handle = null;
  }
}
