import { constants, open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

import { CheckpointError } from "./errors.js";
import { writeFully } from "./io.js";

/**
 * Data begin at a multiple of this, so that direct writes (below) can begin there too: whole blocks of every disk, and
 * whole pages of most processors.
 */
export const DATA_ALIGNMENT = 4096;

/**
 * What is written directly begins and ends at multiples of the largest page of any processor, so that no page in the
 * system's cache holds bytes of both kinds.
 */
const DIRECT_GRAIN = 65_536;

/**
 * A new file that is written at given positions, in any order. Where the system can (Linux, most file systems), long
 * writes go straight from memory to the disk: a checkpoint is larger than what a page cache is good for, and filling
 * pages costs more processor time than hashing them. For that the memory must begin on a page as its place in the file
 * does, like a `WebAssembly.Memory`; everything else goes through the page cache.
 */
export class OutputFile {
  readonly #path: string;
  readonly #cached: FileHandle;
  readonly #direct: FileHandle | undefined;

  private constructor(path: string, cached: FileHandle, direct: FileHandle | undefined) {
    this.#path = path;
    this.#cached = cached;
    this.#direct = direct;
  }

  /** Throws the system's error, EEXIST for a file that is there. */
  static async create(path: string): Promise<OutputFile> {
    const cached = await open(path, "wx");
    // Absent outside Linux; a file system that cannot refuses here or at the write.
    const flag: number | undefined = constants.O_DIRECT;
    const direct = flag === undefined ? undefined : open(path, constants.O_WRONLY | flag).catch(() => undefined);
    return new OutputFile(path, cached, await direct);
  }

  /** @throws CheckpointError "no-space" */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    const begin = Math.min(bytes.length, Math.ceil(position / DIRECT_GRAIN) * DIRECT_GRAIN - position);
    const length = Math.floor((bytes.length - begin) / DIRECT_GRAIN) * DIRECT_GRAIN;
    const middle = bytes.subarray(begin, begin + length);
    if (length === 0 || !(await this.#writeDirectly(middle, position + begin))) {
      await writeFully(this.#cached, this.#path, bytes, position);
      return;
    }
    const end = begin + length;
    await writeFully(this.#cached, this.#path, bytes.subarray(0, begin), position);
    await writeFully(this.#cached, this.#path, bytes.subarray(end), position + end);
  }

  /** False where memory or file system do not allow it, or anything else went wrong that the page cache may not mind. */
  async #writeDirectly(bytes: Uint8Array, position: number): Promise<boolean> {
    if (this.#direct === undefined) return false;
    try {
      await writeFully(this.#direct, this.#path, bytes, position);
      return true;
    } catch (error) {
      if (error instanceof CheckpointError && error.code === "no-space") throw error;
      return false; // what was written of it is written again
    }
  }

  /** Flushes everything to the disk. */
  async sync(): Promise<void> {
    await this.#cached.sync();
  }

  async close(): Promise<void> {
    await this.#direct?.close();
    await this.#cached.close();
  }
}
