import { CheckpointError } from "./errors.js";
import { closing, openFile } from "./files.js";
import type { FileSource, RangeFile } from "./files.js";
import { isObject, readJsonFile } from "./json.js";
import { readHeaderFrom } from "./safetensors.js";
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

async function exists(source: FileSource, name: string): Promise<boolean> {
  const file = await source.open(source.path(name));
  await file?.close();
  return file !== undefined;
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
async function readIndex(source: RangeFile): Promise<Map<string, string>> {
  const { path: file } = source;
  const index = await readJsonFile(source, "bad-index", 1);
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
async function readShards(source: FileSource, index: RangeFile): Promise<TensorTable> {
  const indexFile = index.path;
  const shardOf = await closing(index, readIndex);
  const files = [...new Set(shardOf.values())].sort();
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const shard of files) {
    const file = source.path(shard);
    const header = await closing(await openFile(source, file), readHeaderFrom);
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
    throw new CheckpointError("missing-tensor", source.path(shard), problem, name);
  }
  return { tensors, metadata, files };
}

/**
 * Headers of `model.safetensors`, or else of the shards in `model.safetensors.index.json` (the order in which
 * Transformers looks).
 * @throws CheckpointError
 */
export async function readTensorTable(source: FileSource): Promise<TensorTable> {
  const single = await source.open(source.path(SINGLE_FILE));
  if (single !== undefined) {
    const { tensors, metadata } = await closing(single, readHeaderFrom);
    return { tensors, metadata, files: [SINGLE_FILE] };
  }
  const index = await source.open(source.path(INDEX_FILE));
  if (index !== undefined) return readShards(source, index);
  if ((await exists(source, "pytorch_model.bin")) || (await exists(source, "pytorch_model.bin.index.json"))) {
    const problem = "only pickled weights (pytorch_model.bin) are here; save the model with safe_serialization=True";
    throw new CheckpointError("unsupported", source.dir, problem);
  }
  throw new CheckpointError("missing-file", source.dir, `expected ${SINGLE_FILE} or ${INDEX_FILE}, neither is here`);
}
