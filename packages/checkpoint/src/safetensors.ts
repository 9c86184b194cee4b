import { z } from "zod";

import { byteSize, STORED_DTYPES } from "./dtype.js";
import type { StoredDtype } from "./dtype.js";
import { CheckpointError } from "./errors.js";
import type { RangeFile } from "./files.js";
import { isObject, parseJson } from "./json.js";

/** Where one tensor lies: row-major elements at bytes [begin, end) of `file`. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** Absolute path of the file that holds it. */
  readonly file: string;
  /** First byte, counted from the start of the file. */
  readonly begin: number;
  /** One past the last byte, counted from the start of the file. */
  readonly end: number;
}

/** What the header of one safetensors file says. Tensors come in the order of their bytes. */
export interface SafetensorsHeader {
  readonly tensors: Map<string, TensorInfo>;
  readonly metadata: Record<string, string>;
  /** The first byte after the header, where tensor data begin. */
  readonly dataBegin: number;
}

/** The limit of the upstream crate (MAX_HEADER_SIZE in safetensors/src/tensor.rs). */
const MAX_HEADER_BYTES = 100_000_000;

const tensorEntry = z.object({
  dtype: z.string(),
  shape: z.array(z.number()),
  data_offsets: z.tuple([z.number(), z.number()]),
});

/**
 * The number of elements of a shape.
 * @throws CheckpointError "size-overflow" where a product leaves the exact integers (2^53)
 */
function elementCount(shape: readonly number[], file: string, tensor: string): number {
  let product = 1;
  for (const size of shape) {
    if (!Number.isInteger(size) || size < 0) {
      const problem = `shape ${JSON.stringify(shape)} must hold whole numbers from 0`;
      throw new CheckpointError("bad-header-json", file, problem, tensor);
    }
    product *= size;
    if (!Number.isSafeInteger(product) || !Number.isSafeInteger(size)) {
      const problem = `shape ${JSON.stringify(shape)} has more than 2^53 elements`;
      throw new CheckpointError("size-overflow", file, problem, tensor);
    }
  }
  return product;
}

/** The bytes of a tensor; see {@link elementCount}. */
export function byteLength(dtype: StoredDtype, shape: readonly number[], file: string, tensor: string): number {
  const bytes = elementCount(shape, file, tensor) * byteSize(dtype);
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new CheckpointError("size-overflow", file, `shape ${JSON.stringify(shape)} has more than 2^53 bytes`, tensor);
}

/** One header entry, with its offsets still relative to the data; its size is checked against shape and dtype. */
function parseEntry(name: string, value: unknown, file: string): TensorInfo {
  const entry = tensorEntry.safeParse(value);
  if (!entry.success) {
    const problem = "expected {dtype: string, shape: [numbers], data_offsets: [begin, end]}";
    throw new CheckpointError("bad-header-json", file, `${problem}; ${z.prettifyError(entry.error)}`, name);
  }
  const { shape, data_offsets: offsets } = entry.data;
  const dtype = STORED_DTYPES.find((known) => known === entry.data.dtype);
  if (dtype === undefined) {
    const problem = `dtype ${JSON.stringify(entry.data.dtype)} is not one of ${STORED_DTYPES.join(", ")}`;
    throw new CheckpointError("wrong-dtype", file, problem, name);
  }
  const [begin, end] = offsets;
  for (const offset of offsets) {
    if (Math.abs(offset) > Number.MAX_SAFE_INTEGER) {
      throw new CheckpointError("size-overflow", file, `data_offsets ${begin}, ${end} leave 2^53`, name);
    }
  }
  if (!Number.isInteger(begin) || !Number.isInteger(end) || begin < 0 || end < begin) {
    const problem = `data_offsets must be whole numbers with 0 <= begin <= end, they are ${begin}, ${end}`;
    throw new CheckpointError("offset-out-of-range", file, problem, name);
  }
  const wanted = byteLength(dtype, shape, file, name);
  if (end - begin !== wanted) {
    const problem = `${dtype} of shape ${JSON.stringify(shape)} takes ${wanted} bytes, data_offsets give ${end - begin}`;
    throw new CheckpointError("size-mismatch", file, problem, name);
  }
  return { name, dtype, shape, file, begin, end };
}

/**
 * Tensors must follow one another without overlap or hole and end with the file, as the upstream crate demands:
 * a byte that no tensor owns could hide something.
 */
function checkLayout(entries: readonly TensorInfo[], dataBytes: number, file: string): void {
  // Before overlaps and holes: a tensor that claims to lie elsewhere leaves a hole, and its neighbour is not to blame.
  const outside = entries.find(({ end }) => end > dataBytes);
  if (outside !== undefined) {
    const problem = `bytes ${outside.begin} to ${outside.end} lie beyond the ${dataBytes} bytes of data; the file may be cut off`;
    throw new CheckpointError("offset-out-of-range", file, problem, outside.name);
  }
  let position = 0;
  let previous = "";
  for (const { name, begin, end } of entries) {
    if (begin < position) {
      const problem = `begins at byte ${begin}, inside tensor ${JSON.stringify(previous)}, which ends at ${position}`;
      throw new CheckpointError("overlapping-offsets", file, problem, name);
    }
    if (begin > position) {
      const problem = `begins at byte ${begin}, but what lies before it ends at ${position}`;
      throw new CheckpointError("gap", file, problem, name);
    }
    position = end;
    previous = name;
  }
  if (position !== dataBytes) {
    const problem = `the tensors end at byte ${position} of ${dataBytes} bytes of data`;
    throw new CheckpointError("trailing-bytes", file, problem);
  }
}

function parseMetadata(value: unknown, file: string): Record<string, string> {
  const metadata = z.record(z.string(), z.string()).safeParse(value);
  if (metadata.success) return metadata.data;
  throw new CheckpointError("bad-header-json", file, "__metadata__ must be an object whose values are strings");
}

/**
 * Read and check the header of one safetensors file: 8 bytes little-endian header length, that many bytes of JSON,
 * then the data. Nothing is allocated before its size was compared with the file's.
 * Format: https://github.com/huggingface/safetensors#format.
 *
 * @throws CheckpointError naming the file and, where there is one, the tensor
 */
export async function readHeaderFrom(source: RangeFile): Promise<SafetensorsHeader> {
  const { path: file, size } = source;
  if (size < 8) {
    throw new CheckpointError("truncated", file, `a safetensors file has at least 8 bytes, this one ${size}`);
  }
  const prefix = new Uint8Array(8);
  await source.read(prefix, 0);
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > BigInt(MAX_HEADER_BYTES)) {
    const problem = `the header claims ${declared} bytes, more than the limit of ${MAX_HEADER_BYTES}`;
    throw new CheckpointError("header-too-long", file, `${problem}; is this a safetensors file?`);
  }
  const length = Number(declared);
  const dataBegin = 8 + length;
  if (dataBegin > size) {
    const problem = `the header claims ${length} bytes, only ${size - 8} follow; the file may be cut off`;
    throw new CheckpointError("header-too-long", file, problem);
  }
  const bytes = new Uint8Array(length);
  await source.read(bytes, 8);
  const json = parseJson(bytes, file, "bad-header-json", 0);
  if (!isObject(json)) throw new CheckpointError("bad-header-json", file, "the header must be a JSON object");

  const entries: TensorInfo[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") metadata = parseMetadata(value, file);
    else entries.push(parseEntry(name, value, file));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(entries, size - dataBegin, file);
  const tensors = new Map(
    entries.map((t) => [t.name, { ...t, begin: t.begin + dataBegin, end: t.end + dataBegin }] as const),
  );
  return { tensors, metadata, dataBegin };
}
