import { randomBytes } from "node:crypto";
import { lstat, mkdir, open, readdir, rename, rm, statfs } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

import { CheckpointError, systemErrorCode } from "./errors.js";
import { writeFully } from "./io.js";

/** A hidden name beside `path`, on the same file system. Random, since process numbers repeat across machines. */
function sibling(path: string, role: "partial" | "old"): string {
  const suffix = `${process.pid}-${randomBytes(4).toString("hex")}`;
  return join(dirname(path), `.${basename(path)}.${role}-${suffix}`);
}

/** Make a file or directory entry survive a power cut. Windows cannot flush directories, and need not. */
async function flush(path: string, kind: "file" | "directory"): Promise<void> {
  if (kind === "directory" && process.platform === "win32") return;
  // Windows flushes only what is open for writing; elsewhere a file that may not be written (a copied one) flushes too.
  const handle = await open(path, process.platform === "win32" ? "r+" : "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function flushTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await flushTree(path);
    else if (entry.isFile()) await flush(path, "file");
  }
  await flush(dir, "directory");
}

async function kindOf(path: string): Promise<"nothing" | "directory" | "other"> {
  try {
    return (await lstat(path)).isDirectory() ? "directory" : "other";
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return "nothing";
    throw error;
  }
}

/** Refuse an output that exists, unless it is a directory that may be overwritten. */
async function checkTarget(target: string, overwrite: boolean): Promise<"nothing" | "directory"> {
  const kind = await kindOf(target);
  if (kind === "other") throw new CheckpointError("not-a-directory", target, "the output exists and is no directory");
  if (kind === "directory" && !overwrite) {
    throw new CheckpointError("exists", target, "the output exists already; choose another or allow overwriting it");
  }
  return kind;
}

/**
 * @param dir an existing directory
 * @throws CheckpointError "no-space" when its file system has fewer free bytes than needed
 */
export async function checkFreeSpace(dir: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  if (free >= neededBytes) return;
  const problem = `the output needs ${neededBytes} bytes, ${free} are free; free some or choose another place`;
  throw new CheckpointError("no-space", dir, problem);
}

/**
 * Let `fill` write a directory that appears under its name whole or not at all: it works in a hidden sibling, which is
 * flushed to the disk and renamed at the end, or removed when `fill` throws. An old directory that may be overwritten
 * stays in place until the new one is complete. A process killed in the middle leaves its hidden sibling behind; one
 * killed between the two renames of an overwrite leaves the old directory as `.<name>.old-…`.
 *
 * @param options neededBytes: checked against the free space before `fill` starts
 * @returns what `fill` returns
 * @throws CheckpointError "exists" | "not-a-directory" | "no-space", and whatever `fill` throws
 */
export async function withOutputDirectory<T>(
  dir: string,
  options: { readonly overwrite?: boolean; readonly neededBytes?: number },
  fill: (partialDir: string) => Promise<T>,
): Promise<T> {
  const target = resolve(dir);
  if (dirname(target) === target) throw new CheckpointError("exists", target, "the root directory cannot be an output");
  const overwrite = options.overwrite ?? false;
  await checkTarget(target, overwrite);
  await mkdir(dirname(target), { recursive: true });
  if (options.neededBytes !== undefined) await checkFreeSpace(dirname(target), options.neededBytes);
  const partial = sibling(target, "partial");
  await mkdir(partial);
  try {
    const result = await fill(partial);
    await flushTree(partial);
    await replaceDirectory(partial, target, overwrite);
    return result;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** Put `partial` in the place of `target`. What stood there is removed last, and put back when the rename fails. */
async function replaceDirectory(partial: string, target: string, overwrite: boolean): Promise<void> {
  const old = sibling(target, "old");
  const kind = await checkTarget(target, overwrite); // again: someone may have made it in the meantime
  if (kind === "directory") await rename(target, old);
  try {
    await rename(partial, target);
  } catch (error) {
    if (kind === "directory") await rename(old, target);
    throw error;
  }
  await flush(dirname(target), "directory");
  if (kind === "directory") await rm(old, { recursive: true, force: true });
}

/** Write a file that holds the old or the new content at every moment, also after a crash. */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const target = resolve(path);
  const partial = sibling(target, "partial");
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const handle = await open(partial, "wx");
  try {
    try {
      await writeFully(handle, partial, bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await flush(dirname(target), "directory");
}
