import { createReadStream, type ReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { DataError } from "../errors.js";
import type { Compression } from "./format.js";
import { unpackZstd } from "./zstd.js";

/**
 * The bytes of a file, unpacked. Reads on as they are consumed; stopping early closes the file.
 * @param onOpen is given the stream of packed bytes, which counts them
 */
export async function* readBytes(
  file: string,
  compression: Compression,
  onOpen?: (stream: ReadStream) => void,
): AsyncGenerator<Uint8Array> {
  const info = await stat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw new DataError("missing-file", "no such file", { file });
    throw error;
  });
  if (info.isDirectory()) throw new DataError("unsupported", "is a directory; give the files in it", { file });
  const packed = createReadStream(file);
  onOpen?.(packed);
  if (compression === "zstd") {
    yield* unpackZstd(packed as AsyncIterable<Uint8Array>, file);
    return;
  }
  // The callback only keeps pipeline from throwing elsewhere: the same error ends the iteration below.
  const bytes = compression === "gzip" ? pipeline(packed, createGunzip(), () => {}) : packed;
  try {
    yield* bytes as AsyncIterable<Uint8Array>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith("Z_") === true) {
      throw new DataError("bad-gzip", `not a whole gzip file: ${(error as Error).message}`, { file });
    }
    throw error;
  }
}
