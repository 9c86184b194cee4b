import type { FileHandle } from "node:fs/promises";

import { CheckpointError, systemErrorCode } from "./errors.js";

/** One system call moves at most 2^31 - 1 bytes; stay well below. */
const MAX_TRANSFER = 2 ** 30;

/**
 * Fill `into` from `position` of the file.
 * @throws CheckpointError "truncated" where the file ends before, "read-error" for what the system says
 */
export async function readFully(handle: FileHandle, file: string, into: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const wanted = Math.min(into.length - done, MAX_TRANSFER);
    const { bytesRead } = await handle.read(into, done, wanted, position + done).catch((error: unknown) => {
      throw systemError(error, "read-error", file, `reading ${wanted} bytes at offset ${position + done} failed`);
    });
    if (bytesRead === 0) {
      const problem = `expected ${into.length} bytes at offset ${position}, the file ends after ${done}`;
      throw new CheckpointError("truncated", file, `${problem}; fetch it again`);
    }
    done += bytesRead;
  }
}

/** What the system says of a file's bytes does not name the file. */
function systemError(error: unknown, code: "read-error" | "write-error", file: string, problem: string): unknown {
  const system = systemErrorCode(error);
  if (system === undefined) return error;
  return new CheckpointError(code, file, `${problem} (${system}); is the disk or the connection to it in order?`);
}

/**
 * Write all of `bytes`, from `position` of the file or after what was written.
 * @throws CheckpointError "no-space" for a full disk, "write-error" for what else the system says
 */
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
    if (code !== "ENOSPC" && code !== "EDQUOT") {
      throw systemError(error, "write-error", file, `writing ${bytes.length - done} bytes failed`);
    }
    throw new CheckpointError(
      "no-space",
      file,
      `no space left on the device (${code}); free some or choose another place`,
    );
  }
}
