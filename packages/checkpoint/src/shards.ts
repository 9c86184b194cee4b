import { stat } from "node:fs/promises";
import { join } from "node:path";

import { CheckpointError, systemErrorCode } from "./errors.js";
import { isObject, readJson } from "./json.js";
import { readHeader } from "./safetensors.js";
import type { TensorInfo } from "./safetensors.js";

export const SINGLE_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

/** The tensors of all safetensors files of one directory. */
export interface TensorTable {
  readonly tensors: Map<string, TensorInfo>;
  readonly metadata: Record<string, string>;
  /** Plain names in the directory. */
  readonly files: readonly string[];
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT" || systemErrorCode(error) === "ENOTDIR") return false;
    throw error;
  }
}

/** A name that stays in its directory on every system: no separator, no drive, no dot name, no NUL, at most 255 bytes. */
function isPlainFileName(name: string): boolean {
  return name !== "" && Buffer.byteLength(name) <= 255 && !name.startsWith(".") && !/[/\\:\0]/.test(name);
}

/**
 * `weight_map` of an index: tensor -> shard. A shard must be a plain file name in the directory. It may itself be a
 * symbolic link (the Hugging Face cache links every file to `../../blobs/…`): links are made by the machine's owner,
 * the index comes from outside.
 */
async function readIndex(file: string): Promise<Map<string, string>> {
  const index = await readJson(file, "bad-index", 1);
  const weightMap = isObject(index) ? index.weight_map : undefined;
  if (!isObject(weightMap)) {
    throw new CheckpointError("bad-index", file, 'expected an object with "weight_map": {tensor name: file name}');
  }
  const shardOf = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== "string") {
      const problem = `expected a file name, it is ${JSON.stringify(shard)}`;
      throw new CheckpointError("bad-index", file, problem, tensor);
    }
    if (!isPlainFileName(shard)) {
      const problem = `${JSON.stringify(shard)} is no plain file name; shards must lie beside the index`;
      throw new CheckpointError("index-outside-directory", file, problem, tensor);
    }
    shardOf.set(tensor, shard);
  }
  return shardOf;
}

/** All shards that an index names, each tensor exactly where the index says. */
async function readShards(dir: string, indexFile: string): Promise<TensorTable> {
  const shardOf = await readIndex(indexFile);
  const files = [...new Set(shardOf.values())].sort();
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const shard of files) {
    const file = join(dir, shard);
    const header = await readHeader(file);
    for (const [name, info] of header.tensors) {
      const wanted = shardOf.get(name);
      if (wanted !== shard) {
        const where = wanted === undefined ? "does not list it" : `puts it into ${wanted}`;
        throw new CheckpointError("extra-tensor", file, `the file holds it, but ${indexFile} ${where}`, name);
      }
      tensors.set(name, info);
    }
    metadata = { ...metadata, ...header.metadata };
  }
  for (const [name, shard] of shardOf) {
    if (tensors.has(name)) continue;
    const problem = `${indexFile} puts it into this file, which does not hold it`;
    throw new CheckpointError("missing-tensor", join(dir, shard), problem, name);
  }
  return { tensors, metadata, files };
}

/**
 * Headers of `model.safetensors`, or else of the shards in `model.safetensors.index.json` (the order in which
 * Transformers looks).
 * @throws CheckpointError
 */
export async function readTensorTable(dir: string): Promise<TensorTable> {
  const single = join(dir, SINGLE_FILE);
  if (await exists(single)) {
    const { tensors, metadata } = await readHeader(single);
    return { tensors, metadata, files: [SINGLE_FILE] };
  }
  const index = join(dir, INDEX_FILE);
  if (await exists(index)) return readShards(dir, index);
  if ((await exists(join(dir, "pytorch_model.bin"))) || (await exists(join(dir, "pytorch_model.bin.index.json")))) {
    const problem = "only pickled weights (pytorch_model.bin) are here; save the model with safe_serialization=True";
    throw new CheckpointError("unsupported", dir, problem);
  }
  throw new CheckpointError("missing-file", dir, `expected ${SINGLE_FILE} or ${INDEX_FILE}, neither is here`);
}
