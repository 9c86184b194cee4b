import type { FileHandle } from "node:fs/promises";

import { CheckpointError, systemErrorCode } from "./errors.js";

/** One system call moves at most 2^31 - 1 bytes; stay well below. */
const MAX_TRANSFER = 2 ** 30;

/** Fill `into` from `position` of the file. A file that ends before is an error. */
export async function readFully(handle: FileHandle, file: string, into: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const wanted = Math.min(into.length - done, MAX_TRANSFER);
    const { bytesRead } = await handle.read(into, done, wanted, position + done);
    if (bytesRead === 0) {
      const problem = `expected ${into.length} bytes at offset ${position}, the file ends after ${done}`;
      throw new CheckpointError("truncated", file, `${problem}; fetch it again`);
    }
    done += bytesRead;
  }
}

/** Write all of `bytes`, from `position` of the file or after what was written. A full disk becomes a CheckpointError. */
export async function writeFully(
  handle: FileHandle,
  file: string,
  bytes: Uint8Array,
  position?: number,
): Promise<void> {
  let done = 0;
  try {
    while (done < bytes.length) {
      const wanted = Math.min(bytes.length - done, MAX_TRANSFER);
      const at = position === undefined ? null : position + done;
      done += (await handle.write(bytes, done, wanted, at)).bytesWritten;
    }
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    throw new CheckpointError(
      "no-space",
      file,
      `no space left on the device (${code}); free some or choose another place`,
    );
  }
}
