import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join, resolve } from "node:path";

import { parseConfig } from "./config.js";
import type { ModelConfig } from "./config.js";
import { byteSize, decodeToF32, isFloatDtype } from "./dtype.js";
import { CheckpointError } from "./errors.js";
import { expectedTensors } from "./geometry.js";
import { readFully } from "./io.js";
import { isObject, readJson } from "./json.js";
import { isRotaryBuffer } from "./names.js";
import type { TensorInfo } from "./safetensors.js";
import { readTensorTable } from "./shards.js";

/** Large enough for full disk speed, small enough to hold several. */
const DEFAULT_CHUNK_BYTES = 8 * 2 ** 20;

/**
 * A Hugging Face checkpoint directory, opened for reading: `config.json` and `model.safetensors`, or shards with
 * `model.safetensors.index.json`. Opening reads the headers only; tensors are read by range when asked for.
 */
export class Checkpoint {
  /** Absolute. */
  readonly dir: string;
  readonly config: ModelConfig;
  /** `config.json` as it stands there. */
  readonly rawConfig: Record<string, unknown>;
  /** All stored tensors, in the order of the files and of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of the safetensors files together; `{format: "pt"}` as a rule. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The safetensors files, as plain names in `dir`. */
  readonly files: readonly string[];
  #bytesRead = 0;
  readonly #handles = new Map<string, Promise<FileHandle>>();

  private constructor(
    dir: string,
    config: ModelConfig,
    rawConfig: Record<string, unknown>,
    table: Awaited<ReturnType<typeof readTensorTable>>,
  ) {
    this.dir = dir;
    this.config = config;
    this.rawConfig = rawConfig;
    this.tensors = table.tensors;
    this.metadata = table.metadata;
    this.files = table.files;
  }

  /**
   * Read config, index and headers, and check them against one another and the file sizes. Whether the tensors are
   * those of the model is for {@link validate}.
   * @throws CheckpointError
   */
  static async open(dir: string): Promise<Checkpoint> {
    const absolute = resolve(dir);
    const file = join(absolute, "config.json");
    const rawConfig = await readJson(file, "bad-config");
    const config = parseConfig(rawConfig, file);
    if (!isObject(rawConfig)) throw new Error("parseConfig accepts objects only");
    return new Checkpoint(absolute, config, rawConfig, await readTensorTable(absolute));
  }

  /** Bytes of tensor data read so far (headers not counted). */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** The entry of one tensor. @throws CheckpointError "missing-tensor" */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info === undefined) throw new CheckpointError("missing-tensor", this.dir, "there is no such tensor", name);
    return info;
  }

  /** All bytes of one tensor, in an array of their own. */
  async read(name: string): Promise<Uint8Array> {
    const { begin, end } = this.info(name);
    return this.readRange(name, 0, end - begin);
  }

  /**
   * Bytes [begin, end) of one tensor, counted from its own start, in an array of their own.
   * @throws RangeError when they are not inside the tensor
   */
  async readRange(name: string, begin: number, end: number): Promise<Uint8Array> {
    const info = this.info(name);
    const size = info.end - info.begin;
    if (!Number.isInteger(begin) || !Number.isInteger(end) || begin < 0 || end < begin || end > size) {
      throw new RangeError(`tensor ${JSON.stringify(name)} has bytes 0 to ${size}, asked for ${begin} to ${end}`);
    }
    const bytes = new Uint8Array(end - begin);
    await this.#fill(info, bytes, begin);
    return bytes;
  }

  /**
   * The bytes of one tensor in order, in pieces of at most `chunkBytes` that hold whole elements. **The buffer is
   * reused:** a piece is good until the next one is asked for. An empty tensor has no pieces.
   */
  async *chunks(name: string, chunkBytes: number = DEFAULT_CHUNK_BYTES): AsyncGenerator<Uint8Array, void, undefined> {
    const info = this.info(name);
    const size = info.end - info.begin;
    const element = byteSize(info.dtype);
    if (!(chunkBytes >= element)) throw new RangeError(`chunkBytes must be at least ${element}, it is ${chunkBytes}`);
    const buffer = new Uint8Array(Math.min(size, Math.floor(chunkBytes / element) * element));
    for (let begin = 0; begin < size; begin += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, size - begin));
      await this.#fill(info, piece, begin);
      yield piece;
    }
  }

  /**
   * One tensor as f32, row-major (see {@link decodeToF32}). Needs little memory beside the result.
   * @throws CheckpointError "wrong-dtype" for integers and 8-bit floats
   */
  async readF32(name: string): Promise<Float32Array> {
    const { dtype, begin, end, file } = this.info(name);
    if (!isFloatDtype(dtype)) {
      const problem = `dtype ${dtype} cannot be read as numbers; expected F32, F16, BF16 or F64`;
      throw new CheckpointError("wrong-dtype", file, problem, name);
    }
    const values = new Float32Array((end - begin) / byteSize(dtype));
    let done = 0;
    for await (const piece of this.chunks(name)) {
      const count = piece.length / byteSize(dtype);
      decodeToF32(piece, dtype, values.subarray(done, done + count));
      done += count;
    }
    return values;
  }

  /**
   * Check that the stored tensors are exactly the model's: names, shapes, and a float dtype that can be decoded.
   * Tolerated beyond `expected`: a stored `lm_head.weight` of a tied model, and rotary buffers of early conversions.
   *
   * @param expected name -> shape; by default what the config asks for
   * @throws CheckpointError "missing-tensor" | "extra-tensor" | "wrong-shape" | "wrong-dtype", naming file and tensor
   */
  validate(expected: ReadonlyMap<string, readonly number[]> = expectedTensors(this.config)): void {
    const { vocabSize, hiddenSize, tieWordEmbeddings } = this.config;
    for (const name of expected.keys()) {
      if (this.tensors.has(name)) continue;
      const problem = `missing; ${this.files.join(", ")} hold ${this.tensors.size} tensors, expected ${expected.size}`;
      throw new CheckpointError("missing-tensor", this.dir, problem, name);
    }
    for (const { name, shape, dtype, file } of this.tensors.values()) {
      const tiedHead = name === "lm_head.weight" && tieWordEmbeddings;
      const wanted = expected.get(name) ?? (tiedHead ? [vocabSize, hiddenSize] : undefined);
      if (wanted === undefined) {
        if (isRotaryBuffer(name)) continue;
        const problem = "not a tensor of this model; does config.json belong to these files?";
        throw new CheckpointError("extra-tensor", file, problem, name);
      }
      if (shape.length !== wanted.length || shape.some((n, i) => n !== wanted[i])) {
        const problem = `expected shape [${wanted.join(", ")}], it is [${shape.join(", ")}]`;
        throw new CheckpointError("wrong-shape", file, problem, name);
      }
      if (!isFloatDtype(dtype)) {
        throw new CheckpointError("wrong-dtype", file, `expected F32, F16, BF16 or F64, it is ${dtype}`, name);
      }
    }
  }

  /** Close the files. A later read opens them again. */
  async close(): Promise<void> {
    const handles = [...this.#handles.values()];
    this.#handles.clear();
    for (const handle of handles) await (await handle).close();
  }

  async #fill(info: TensorInfo, into: Uint8Array, offset: number): Promise<void> {
    let handle = this.#handles.get(info.file);
    if (handle === undefined) {
      handle = open(info.file, "r");
      this.#handles.set(info.file, handle);
      handle.catch(() => this.#handles.delete(info.file)); // the caller sees the error below; a later read tries again
    }
    await readFully(await handle, info.file, into, info.begin + offset);
    this.#bytesRead += into.length;
  }
}
