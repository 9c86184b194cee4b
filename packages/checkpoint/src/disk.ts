import { CheckpointError, systemErrorCode } from "./errors.js";
import type { CheckpointErrorCode } from "./errors.js";
import { closing, openFile } from "./files.js";
import type { FileSource, RangeFile } from "./files.js";
import { readFully } from "./io.js";
import { readJsonFile } from "./json.js";
import { readHeaderFrom } from "./safetensors.js";
import type { SafetensorsHeader } from "./safetensors.js";

/**
 * A directory on disk. Node's modules are asked for when they are needed instead of being imported: what uses this also
 * loads in a browser, where it only must not be called.
 */
export function directory(dir: string): FileSource {
  const path = node("node:path");
  const absolute = path.resolve(dir);
  return { dir: absolute, path: (name) => path.join(absolute, name), open: openOnDisk };
}

/** The regular file at a path (symbolic links followed); directories, pipes and devices are refused before opening them. */
async function openOnDisk(path: string): Promise<RangeFile | undefined> {
  const { open, stat } = node("node:fs/promises");
  let info;
  try {
    info = await stat(path);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT" && systemErrorCode(error) !== "ENOTDIR") throw error;
    return undefined;
  }
  if (!info.isFile()) throw new CheckpointError("not-a-file", path, "expected a regular file");
  const handle = await open(path, "r");
  return {
    path,
    size: info.size,
    read: (into, position) => readFully(handle, path, into, position),
    close: () => handle.close(),
  };
}

/** Read and parse one JSON file on disk; its size is limited. @throws CheckpointError with `code`, or "duplicate-key" */
export async function readJson(path: string, code: CheckpointErrorCode): Promise<unknown> {
  return closing(await openFile({ open: openOnDisk }, path), (file) => readJsonFile(file, code));
}

/** The header of one safetensors file on disk, checked: see `readHeaderFrom`. @throws CheckpointError */
export async function readHeader(file: string): Promise<SafetensorsHeader> {
  const path = node("node:path").resolve(file);
  return closing(await openFile({ open: openOnDisk }, path), readHeaderFrom);
}

function node<ID extends "node:path" | "node:fs/promises">(id: ID) {
  if (typeof globalThis.process?.getBuiltinModule !== "function") {
    throw new Error("there is no file system here; in a browser give chosenFiles(…) instead of a path");
  }
  return process.getBuiltinModule(id);
}
