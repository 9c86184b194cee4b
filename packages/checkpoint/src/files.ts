import { CheckpointError } from "./errors.js";

/** A file that is read by range. */
export interface RangeFile {
  /** For messages. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Fill `into` from `position` of the file. @throws CheckpointError "truncated" where the file ends before */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** Files that lie beside one another: a directory, or what someone chose in a browser. */
export interface FileSource {
  /** For messages; of a directory, its absolute path. */
  readonly dir: string;
  /** The path of the file with this plain name, whether or not there is one. */
  path(name: string): string;
  /** The regular file at such a path, or undefined where there is none. @throws CheckpointError "not-a-file" */
  open(path: string): Promise<RangeFile | undefined>;
}

/** As `source.open`; a file that is not there is an error. */
export async function openFile(source: Pick<FileSource, "open">, path: string): Promise<RangeFile> {
  const file = await source.open(path);
  if (file === undefined) throw new CheckpointError("missing-file", path, "there is no such file");
  return file;
}

/** Hands an open file to `use`, and closes it after. */
export async function closing<T>(file: RangeFile, use: (file: RangeFile) => Promise<T>): Promise<T> {
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/**
 * What a file picker of a browser (`<input type="file" multiple>`, or with `webkitdirectory`) gives. Only the ranges that
 * are asked for are read.
 * @param dir what messages call the place they come from
 */
export function chosenFiles(files: Iterable<Blob & { readonly name: string }>, dir = "chosen files"): FileSource {
  const path = (name: string) => `${dir}/${name}`;
  const byPath = new Map(Array.from(files, (file) => [path(file.name), file]));
  return {
    dir,
    path,
    open: (wanted) => {
      const file = byPath.get(wanted);
      return Promise.resolve(file && rangesOf(file, wanted));
    },
  };
}

function rangesOf(blob: Blob, path: string): RangeFile {
  return {
    path,
    size: blob.size,
    read: async (into, position) => {
      const bytes = new Uint8Array(await blob.slice(position, position + into.length).arrayBuffer());
      if (bytes.length < into.length) {
        const problem = `expected ${into.length} bytes at offset ${position}, the file ends after ${bytes.length}`;
        throw new CheckpointError("truncated", path, `${problem}; choose it again`);
      }
      into.set(bytes);
    },
    close: () => Promise.resolve(),
  };
}
