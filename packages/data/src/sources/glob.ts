import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { glob, isDynamicPattern } from "tinyglobby";
import { DataError } from "../errors.js";

/** More files than this are taken for a mistake, such as a pattern over a whole disk. */
const MAX_FILES = 1_000_000;

/**
 * The files of a path or a pattern such as `math/*.jsonl` or `{a,b}/**`, looked for in the first of `directories` that has any;
 * sorted by name, so that the order is the same everywhere. A path that exists is itself, whatever characters it has.
 * @throws DataError `missing-file` where nothing is found, `not-a-file` for a directory
 */
export async function expandPath(pattern: string, directories: readonly string[]): Promise<string[]> {
  for (const directory of new Set(directories)) {
    const file = withBase(directory, pattern);
    const info = await stat(file).catch(() => undefined);
    if (info?.isDirectory()) {
      throw new DataError("not-a-file", `a directory: name the files in it, as with ${join(pattern, "*.jsonl")}`, {
        file,
      });
    }
    if (info !== undefined) return [file];
    if (!isDynamicPattern(pattern)) continue;
    const found = await glob(pattern, { cwd: directory || ".", onlyFiles: true, expandDirectories: false });
    if (found.length > MAX_FILES) {
      throw new DataError("too-large", `${found.length} files match, expected at most ${MAX_FILES}`, { file: pattern });
    }
    if (found.length > 0) return found.map((name) => withBase(directory, name)).toSorted((a, b) => (a < b ? -1 : 1));
  }
  const places = [...new Set(directories.map((directory) => resolve(directory)))].join(" and in ");
  throw new DataError(
    "missing-file",
    `no such file, and no file that matches; looked in ${places}. Check the path, or quote the pattern if a shell expands it`,
    { file: pattern },
  );
}

/** `name` seen from the current directory; an absolute one is left as it is. */
function withBase(directory: string, name: string): string {
  return resolve(directory, name) === resolve(name) ? name : join(directory, name);
}
