import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { readSmallFile, writeFileAtomically } from "../files.js";
import { isObject } from "../tokenizer/format.js";

/** A file that changed less than this before it was hashed may change again within the clock's grain, unseen. */
const GRAIN_MS = 2000;
const MAX_KNOWN_BYTES = 64 * 1024 * 1024;

/** What tells that a file is still the one that was hashed, as git and make do. */
interface Known {
  readonly size: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly ino: number;
  readonly sha256: string;
}

/**
 * SHA-256 of each file's bytes, in hex. What was hashed before and has the same size, times and inode is not read again: `cache`
 * remembers it, in contents.json. What cannot be read there is hashed anew.
 * @param onBytes is told of the bytes that are behind, of all files together
 */
export async function contentHashes(
  files: readonly string[],
  cache: string,
  signal?: AbortSignal,
  onBytes: (bytes: number) => void = () => {},
): Promise<string[]> {
  const memory = join(cache, "contents.json");
  const known = await readKnown(memory);
  const hashes: string[] = [];
  let behind = 0;
  let isNew = false;
  for (const file of files) {
    const { size, mtimeMs, ctimeMs, ino } = await stat(file);
    const before = known[resolve(file)];
    if (before?.size === size && before.mtimeMs === mtimeMs && before.ctimeMs === ctimeMs && before.ino === ino) {
      hashes.push(before.sha256);
    } else {
      const isSettled = Date.now() - Math.max(mtimeMs, ctimeMs) > GRAIN_MS;
      const sha256 = await hashOf(file, signal, (bytes) => onBytes(behind + bytes));
      hashes.push(sha256);
      if (isSettled) {
        known[resolve(file)] = { size, mtimeMs, ctimeMs, ino, sha256 };
        isNew = true;
      }
    }
    onBytes((behind += size));
  }
  if (isNew) {
    await mkdir(cache, { recursive: true });
    await writeFileAtomically(memory, `${JSON.stringify(known, null, 1)}\n`);
  }
  return hashes;
}

async function hashOf(
  file: string,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 }) as AsyncIterable<Uint8Array>) {
    signal?.throwIfAborted();
    hash.update(chunk);
    onBytes((bytes += chunk.length));
  }
  return hash.digest("hex");
}

async function readKnown(memory: string): Promise<Record<string, Known | undefined>> {
  const known = Object.create(null) as Record<string, Known | undefined>;
  try {
    const bytes = await readSmallFile(memory, MAX_KNOWN_BYTES);
    const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isObject(parsed)) return known;
    for (const [file, entry] of Object.entries(parsed)) {
      if (isObject(entry) && /^[0-9a-f]{64}$/.test(String(entry.sha256))) known[file] = entry as unknown as Known;
    }
  } catch {
    // Nothing is remembered, then.
  }
  return known;
}
