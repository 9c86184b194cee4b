import { DataError } from "../errors.js";

export interface Line {
  /** Without the newline. Valid until the next line is asked for. */
  readonly bytes: Uint8Array;
  /** From 1. */
  readonly number: number;
}

const NEWLINE = 0x0a;

/**
 * The lines of a byte stream. Holds one line and one chunk at a time.
 * @throws DataError `too-large` as soon as a line has more than `maxBytes`
 */
export async function* readLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
  maxBytes: number,
): AsyncGenerator<Line> {
  let number = 1;
  let parts: Uint8Array[] = [];
  let size = 0;
  const take = (part: Uint8Array): void => {
    size += part.length;
    if (size > maxBytes) {
      throw new DataError("too-large", `a line of more than ${maxBytes} bytes; split the record`, {
        file,
        line: number,
      });
    }
    if (part.length > 0) parts.push(part);
  };
  const finish = (): Line => {
    const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    parts = [];
    size = 0;
    return { bytes, number: number++ };
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      take(chunk.subarray(start, end));
      yield finish();
      start = end + 1;
    }
    take(chunk.subarray(start));
  }
  if (size > 0) yield finish();
}
