import { byteSize, decodeToF32, isFloatDtype } from "./dtype.js";
import { directory } from "./disk.js";
import { CheckpointError } from "./errors.js";
import { openFile } from "./files.js";
import type { FileSource, RangeFile } from "./files.js";
import type { TensorInfo } from "./safetensors.js";
import { readTensorTable } from "./shards.js";

/** Large enough for full disk speed, small enough to hold several. */
const DEFAULT_CHUNK_BYTES = 8 * 2 ** 20;

/**
 * The safetensors files of a directory, opened for reading: `model.safetensors`, or shards with
 * `model.safetensors.index.json`. Opening reads the headers only; tensors are read by range when asked for.
 */
export class TensorFiles {
  /** Absolute; of chosen files, what messages call them. */
  readonly dir: string;
  /** All stored tensors, in the order of the files and of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of the safetensors files together; `{format: "pt"}` as a rule. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The safetensors files, as plain names in `dir`. */
  readonly files: readonly string[];
  #bytesRead = 0;
  readonly #source: FileSource;
  readonly #opened = new Map<string, Promise<RangeFile>>();

  protected constructor(source: FileSource, table: Awaited<ReturnType<typeof readTensorTable>>) {
    this.#source = source;
    this.dir = source.dir;
    this.tensors = table.tensors;
    this.metadata = table.metadata;
    this.files = table.files;
  }

  /** Read index and headers, and check them against one another and the file sizes. @throws CheckpointError */
  static async openTensors(dir: string): Promise<TensorFiles> {
    const source = directory(dir);
    return new TensorFiles(source, await readTensorTable(source));
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
    this.#checkRange(name, begin, end);
    const bytes = new Uint8Array(end - begin);
    await this.readInto(name, begin, bytes);
    return bytes;
  }

  /**
   * Fill `into` with the bytes of one tensor from `begin` on, counted from its own start.
   * @throws RangeError when they are not inside the tensor
   */
  async readInto(name: string, begin: number, into: Uint8Array): Promise<void> {
    this.#checkRange(name, begin, begin + into.length);
    await this.#fill(this.info(name), into, begin);
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

  /** Close the files. A later read opens them again. */
  async close(): Promise<void> {
    const opened = [...this.#opened.values()];
    this.#opened.clear();
    for (const file of opened) await (await file).close();
  }

  #checkRange(name: string, begin: number, end: number): void {
    const info = this.info(name);
    const size = info.end - info.begin;
    if (!Number.isInteger(begin) || !Number.isInteger(end) || begin < 0 || end < begin || end > size) {
      throw new RangeError(`tensor ${JSON.stringify(name)} has bytes 0 to ${size}, asked for ${begin} to ${end}`);
    }
  }

  async #fill(info: TensorInfo, into: Uint8Array, offset: number): Promise<void> {
    let file = this.#opened.get(info.file);
    if (file === undefined) {
      file = openFile(this.#source, info.file);
      this.#opened.set(info.file, file);
      file.catch(() => this.#opened.delete(info.file)); // the caller sees the error below; a later read tries again
    }
    await (await file).read(into, info.begin + offset);
    this.#bytesRead += into.length;
  }
}
