import { Decompress } from "fzstd";
import { DataError } from "../errors.js";

/** The most that a frame's window may take, as in the zstd tool without --long. */
const MAX_WINDOW = 128 * 1024 * 1024;
const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const RLE = 1;

/**
 * Unpacks Zstandard frames (RFC 8878, section 3.1). fzstd decodes; here the frames are found, because a frame's header says how
 * large its window is, and fzstd would allocate whatever stands there. Checksums are not verified.
 */
export async function* unpackZstd(chunks: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Uint8Array> {
  const input = new ByteQueue(chunks, file);
  while (await input.hasMore()) {
    const start = await input.take(4);
    const magic = uint(start);
    if (magic - (magic % 16) === SKIPPABLE) {
      await input.skip(uint(await input.take(4)));
    } else if (magic === MAGIC) yield* unpackFrame(start, input, file);
    else
      throw new DataError("bad-zstd", "not a Zstandard file: a frame does not begin with its magic number", { file });
  }
}

async function* unpackFrame(magic: Uint8Array, input: ByteQueue, file: string): AsyncGenerator<Uint8Array> {
  const descriptor = await input.take(1);
  const flags = descriptor[0]!;
  const isSingleSegment = (flags & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][flags & 3]!;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][flags >>> 6]!;
  const fields = await input.take((isSingleSegment ? 0 : 1) + dictionaryBytes + sizeBytes);
  const contentSize = uint(fields.subarray(fields.length - sizeBytes)) + (sizeBytes === 2 ? 256 : 0);
  const window = isSingleSegment ? contentSize : 2 ** (10 + (fields[0]! >>> 3)) * (1 + (fields[0]! & 7) / 8);
  if (window > MAX_WINDOW) {
    throw new DataError(
      "too-large",
      `a Zstandard frame with a window of ${window} bytes, expected at most ${MAX_WINDOW}; pack again without --long`,
      { file },
    );
  }
  let unpacked: Uint8Array[] = [];
  const decoder = new Decompress((chunk) => unpacked.push(chunk));
  const decode = (bytes: Uint8Array, isLast: boolean): void => {
    try {
      decoder.push(bytes, isLast);
    } catch (error) {
      throw new DataError("bad-zstd", `not a whole Zstandard file: ${(error as Error).message}`, { file });
    }
  };
  decode(Buffer.concat([magic, descriptor, fields]), false);
  for (let isLast = false; !isLast;) {
    const header = await input.take(3);
    const bits = uint(header);
    isLast = (bits & 1) === 1;
    const size = ((bits >>> 1) & 3) === RLE ? 1 : bits >>> 3;
    const checksumBytes = isLast && (flags & 4) !== 0 ? 4 : 0;
    decode(Buffer.concat([header, await input.take(size + checksumBytes)]), isLast);
    for (const chunk of unpacked) if (chunk.length > 0) yield chunk;
    unpacked = [];
  }
}

/** Little-endian, of at most 8 bytes. */
function uint(bytes: Uint8Array): number {
  return bytes.reduceRight((sum, byte) => sum * 256 + byte, 0);
}

/** Bytes asked for by number from a stream of chunks. */
class ByteQueue {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #file: string;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>, file: string) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#file = file;
  }

  async hasMore(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return false;
      this.#chunk = value;
    }
    return true;
  }

  /** At most 2^21 bytes, what a block's header can ask for. */
  async take(count: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let left = count; left > 0; left -= parts.at(-1)!.length) parts.push(await this.#part(left));
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) left -= (await this.#part(left)).length;
  }

  async #part(most: number): Promise<Uint8Array> {
    if (!(await this.hasMore())) {
      throw new DataError("bad-zstd", "not a whole Zstandard file: it ends within a frame", { file: this.#file });
    }
    const part = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(part.length);
    return part;
  }
}
