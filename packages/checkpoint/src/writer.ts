import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import type { StoredDtype } from "./dtype.js";
import { writeFileAtomic } from "./directory.js";
import { CheckpointError, systemErrorCode } from "./errors.js";
import { DATA_ALIGNMENT, OutputFile } from "./output-file.js";
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
 * Length prefix and JSON header, padded with spaces so that data begin on a page. Written entry by entry, because an
 * object would move names like "7" to the front.
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
  const length = Math.ceil((8 + json.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  const bytes = new Uint8Array(length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length - 8), true);
  bytes.set(json, 8);
  return bytes;
}

/** A file while it is being written. */
interface Shard extends ShardPlan {
  /** Bytes of tensor data that are not on their way to the disk yet. */
  left: number;
  /** Set once the file is opened: it, with the header written. */
  output?: Promise<OutputFile>;
  closed: boolean;
}

/** Where a tensor goes. */
interface Place {
  readonly shard: Shard;
  /** Offset of its first byte in the file. */
  readonly begin: number;
  readonly bytes: number;
  /** Bytes handed over so far. */
  done: number;
}

/**
 * Writes a checkpoint's safetensors files as a stream: names, dtypes and shapes are known at the start, the data follow
 * in pieces of any size. The pieces of one tensor come in order; tensors may come in any order and mixed, and calls need
 * not wait for one another. Never holds more than the pieces it was given.
 * For a directory that appears whole or not at all, write inside {@link withOutputDirectory}.
 */
export class CheckpointWriter {
  readonly #dir: string;
  readonly #shards: readonly Shard[];
  readonly #places = new Map<string, Place>();
  readonly #pending = new Set<Promise<void>>();
  #state: "open" | "closed" = "open";

  private constructor(dir: string, plans: readonly ShardPlan[]) {
    this.#dir = dir;
    this.#shards = plans.map((plan) => ({ ...plan, left: plan.bytes, closed: false }));
    for (const shard of this.#shards) {
      let begin = headerBytes(shard).length;
      for (const { name, bytes } of shard.tensors) {
        this.#places.set(name, { shard, begin, bytes, done: 0 });
        begin += bytes;
      }
    }
  }

  /**
   * @param dir an existing directory
   * @param specs all tensors, in the order in which they will stand in the files
   * @param options maxShardBytes: tensor bytes per file, default 5 · 10^9
   * @throws CheckpointError "duplicate-key", "size-overflow", "exists", "no-space"
   */
  static async create(
    dir: string,
    specs: readonly TensorSpec[],
    options: { readonly maxShardBytes?: number } = {},
  ): Promise<CheckpointWriter> {
    return CheckpointWriter.#start(dir, planShards(specs, options.maxShardBytes, dir));
  }

  /**
   * As {@link create}, with the files given: their names, and the tensors of each in order.
   * @throws CheckpointError "duplicate-key", "size-overflow", "exists", "no-space"
   */
  static async createFiles(
    dir: string,
    files: readonly { readonly file: string; readonly tensors: readonly TensorSpec[] }[],
  ): Promise<CheckpointWriter> {
    const sized =
      planShards(
        files.flatMap(({ tensors }) => tensors),
        Infinity,
        dir,
      )[0]?.tensors ?? [];
    let next = 0;
    const plans = files.map(({ file, tensors }) => {
      const part = sized.slice(next, (next += tensors.length));
      return { file, tensors: part, bytes: part.reduce((sum, { bytes }) => sum + bytes, 0) };
    });
    return CheckpointWriter.#start(dir, plans);
  }

  static async #start(dir: string, plans: readonly ShardPlan[]): Promise<CheckpointWriter> {
    const writer = new CheckpointWriter(dir, plans);
    const [first] = writer.#shards;
    if (first !== undefined) await writer.#guard(async () => void (await writer.#open(first)));
    return writer;
  }

  /**
   * Write the next bytes of a tensor; `chunk` may be used again when the promise has resolved. Empty tensors need no
   * call. A file is flushed and closed when its last byte is written.
   */
  async write(name: string, chunk: Uint8Array): Promise<void> {
    assert(this.#state === "open", "the writer is closed");
    if (chunk.length === 0) return;
    await this.#guard(async () => {
      const place = this.#places.get(name);
      assert(place !== undefined, `the writer was given no tensor ${name}`);
      const left = place.bytes - place.done;
      assert(chunk.length <= left, `${name} has ${left} bytes left, got ${chunk.length}`);
      const position = place.begin + place.done;
      place.done += chunk.length;
      const writing = this.#writeAt(place.shard, position, chunk);
      this.#pending.add(writing);
      try {
        await writing;
      } finally {
        this.#pending.delete(writing);
      }
    });
  }

  /**
   * Flush everything to the disk and, unless there is one file of the usual name, write the index. All writes must have resolved.
   * @returns names of the written files, and bytes of tensor data (the index's `metadata.total_size`)
   */
  async finish(): Promise<{ files: string[]; totalBytes: number }> {
    assert(this.#state === "open", "the writer is closed");
    const files = this.#shards.map((shard) => shard.file);
    const totalBytes = this.#shards.reduce((sum, shard) => sum + shard.bytes, 0);
    await this.#guard(async () => {
      for (const [name, { bytes, done }] of this.#places) assert(done === bytes, `${name} lacks ${bytes - done} bytes`);
      assert(this.#pending.size === 0, "finish was called before the last write resolved");
      for (const shard of this.#shards) if (!shard.closed) await this.#close(shard); // those without any data
      if (files.length > 1 || files[0] !== SINGLE_FILE) {
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

  /** Close and delete what was written, once the writes under way have ended. Does nothing after {@link finish}. */
  async abort(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    await Promise.allSettled(this.#pending);
    for (const shard of this.#shards) {
      const output = await shard.output?.catch(() => undefined); // a file that could not be made is not ours to delete
      if (output === undefined) continue;
      if (!shard.closed) await output.close();
      await rm(this.#path(shard), { force: true });
    }
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

  async #writeAt(shard: Shard, position: number, chunk: Uint8Array): Promise<void> {
    const output = await this.#open(shard);
    await output.write(chunk, position);
    shard.left -= chunk.length;
    if (shard.left === 0) await this.#close(shard);
  }

  #path(shard: Shard): string {
    return join(this.#dir, shard.file);
  }

  #open(shard: Shard): Promise<OutputFile> {
    shard.output ??= this.#begin(shard);
    return shard.output;
  }

  /** Make the file and write its header. */
  async #begin(shard: Shard): Promise<OutputFile> {
    const file = this.#path(shard);
    let output: OutputFile;
    try {
      output = await OutputFile.create(file);
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      throw new CheckpointError("exists", file, "the file exists already; choose an empty directory");
    }
    try {
      await output.write(headerBytes(shard), 0);
    } catch (error) {
      await output.close();
      await rm(file, { force: true });
      throw error;
    }
    return output;
  }

  async #close(shard: Shard): Promise<void> {
    const output = await this.#open(shard);
    await output.sync();
    shard.closed = true;
    await output.close();
  }
}
