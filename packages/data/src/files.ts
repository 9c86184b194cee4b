import type { FileHandle } from "node:fs/promises";
import { DataError } from "./errors.js";

/** Asked for when it is needed, not imported: the tokenizer also loads in a browser, where only `parse` can be called. */
function fileSystem() {
  if (typeof globalThis.process?.getBuiltinModule !== "function") {
    throw new Error("there is no file system here; in a browser give Tokenizer.parse the text");
  }
  return process.getBuiltinModule("node:fs/promises");
}

/** The bytes of a regular file of at most `maxBytes`, or undefined where there is none. Its size is checked before reading. */
export async function readSmallFile(file: string, maxBytes: number): Promise<Uint8Array | undefined> {
  const { open } = fileSystem();
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) {
      throw new DataError("too-large", `expected at most ${maxBytes} bytes, found ${size}`, { file });
    }
    // Not readFile(): a file that grows meanwhile, or a device that reports size 0, is still read no further than this.
    const bytes = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      const { bytesRead } = await handle.read(bytes, filled, size - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

/** Writes beside the target, syncs, renames: the file appears whole or not at all. */
export async function writeFileAtomically(file: string, text: string): Promise<void> {
  const { open, rename, rm } = fileSystem();
  const temporary = `${file}.${process.pid}.partial`;
  try {
    const handle = await open(temporary, "w");
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Text of UTF-8 bytes, byte order mark kept; anything that is not UTF-8 is an error. */
export function decodeUtf8(bytes: Uint8Array, where: { file: string; line?: number }): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new DataError("bad-utf8", "expected UTF-8 text; convert the file, or remove what is not text", where);
  }
}
