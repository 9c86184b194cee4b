import { type FileHandle, open } from "node:fs/promises";
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { compressors } from "hyparquet-compressors";
import { DataError } from "../errors.js";

const MIB = 1024 * 1024;
const MAX_METADATA = 64 * MIB;
/** One column of one row group, packed and unpacked. A group is in memory whole. */
const MAX_COLUMN = 1024 * MIB;
const MAX_PAGE = 256 * MIB;
const MAX_VALUES = 2 ** 26;

/**
 * Rows of a Parquet file, one row group in memory at a time, only the wanted columns of those it has. What sizes the file states are
 * checked before hyparquet allocates by them, page by page.
 * @throws DataError `missing-file`, `bad-parquet`, `too-large`
 */
export async function* readParquet(file: string, wanted: readonly string[]): AsyncGenerator<Record<string, unknown>> {
  const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw new DataError("missing-file", "no such file", { file });
    throw error;
  });
  try {
    const buffer = await bufferOf(handle, file);
    const metadata = await readMetadata(buffer, file);
    const has = new Set(
      metadata.row_groups.flatMap(({ columns }) => columns.map((c) => c.meta_data?.path_in_schema[0])),
    );
    const columns = wanted.filter((name) => has.has(name));
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      if (columns.length === 0) for (let row = rowStart; row < rowEnd; row++) yield {};
      else {
        await checkPages(buffer, group, columns, file);
        yield* await orBadParquet(file, () =>
          parquetReadObjects({ file: buffer, metadata, columns, rowStart, rowEnd, compressors: boundedCompressors }),
        );
      }
      rowStart = rowEnd;
    }
  } finally {
    await handle.close();
  }
}

async function bufferOf(handle: FileHandle, file: string): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (!(start >= 0 && end >= start && end <= size)) throw new Error(`bytes ${start} … ${end} of a file of ${size}`);
      if (end - start > MAX_COLUMN) {
        throw new DataError("too-large", `a column of ${end - start} bytes, expected at most ${MAX_COLUMN}`, { file });
      }
      const bytes = new Uint8Array(end - start);
      for (let filled = 0; filled < bytes.length;) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
        if (bytesRead === 0) throw new Error("the file ends early");
        filled += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

/** The magic number in which a file ends, little-endian. */
const PAR1 = 0x31524150;

async function readMetadata(buffer: AsyncBuffer, file: string): Promise<FileMetaData> {
  return orBadParquet(file, async () => {
    const end = buffer.byteLength;
    if (end < 12) throw new Error(`it has ${end} bytes`);
    const footer = new DataView(await buffer.slice(end - 8, end));
    // Before its length is believed: a file that was cut ends with anything.
    if (footer.getUint32(4, true) !== PAR1) throw new Error("it does not end with PAR1; fetch it again");
    const length = footer.getUint32(0, true);
    if (length > MAX_METADATA) {
      throw new DataError("too-large", `metadata of ${length} bytes, expected at most ${MAX_METADATA}`, { file });
    }
    return parquetMetadataAsync(buffer);
  });
}

/** The pages of a row group's columns hold no more values and bytes than their column says, and that is not too much. */
async function checkPages(
  buffer: AsyncBuffer,
  group: FileMetaData["row_groups"][number],
  columns: readonly string[],
  file: string,
): Promise<void> {
  for (const { meta_data } of group.columns) {
    if (meta_data === undefined || !columns.includes(meta_data.path_in_schema[0]!)) continue;
    const unpacked = Number(meta_data.total_uncompressed_size);
    const values = Number(meta_data.num_values);
    if (unpacked > MAX_COLUMN || values > MAX_VALUES || Number(group.num_rows) > MAX_VALUES) {
      throw new DataError(
        "too-large",
        `a column of ${unpacked} bytes and ${values} values in one row group, expected at most ${MAX_COLUMN} and ${MAX_VALUES}; write smaller row groups`,
        { file },
      );
    }
    await orBadParquet(file, async () => {
      const start = Number(meta_data.dictionary_page_offset ?? meta_data.data_page_offset);
      const view = new DataView(await buffer.slice(start, start + Number(meta_data.total_compressed_size)));
      for (const reader = { view, offset: 0 }; reader.offset < view.byteLength;) {
        const header = parquetHeader(reader);
        const { data_page_header, data_page_header_v2, dictionary_page_header } = header;
        const count = (data_page_header ?? data_page_header_v2 ?? dictionary_page_header)?.num_values ?? 0;
        const sizes = [header.compressed_page_size, header.uncompressed_page_size, count];
        const isRight =
          sizes.every((size) => size >= 0) && count <= values && header.uncompressed_page_size <= MAX_PAGE;
        if (!isRight)
          throw new Error(`a page that says it holds ${count} values in ${header.uncompressed_page_size} bytes`);
        reader.offset += header.compressed_page_size;
      }
    });
  }
}

const boundedCompressors = Object.fromEntries(
  Object.entries(compressors).map(([name, unpack]) => [
    name,
    (input: Uint8Array, size: number): Uint8Array => {
      if (size > MAX_PAGE) throw new Error(`a page of ${size} bytes`);
      return unpack(input, size);
    },
  ]),
);

async function orBadParquet<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError("bad-parquet", `not a whole Parquet file: ${(error as Error).message}`, { file });
  }
}
