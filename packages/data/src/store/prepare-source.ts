import { mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "../errors.js";
import { BadRecords } from "../sources/bad-records.js";
import { isObject } from "../tokenizer/format.js";
import { contentHashes } from "./content-hash.js";
import { sourceKey, type SourceSpec } from "./source-spec.js";
import { TokenFile } from "./token-file.js";
import { type Meta, type PrepareOptions, type SourceReport, tokenizeInto } from "./tokenize-source.js";

export interface PreparedSource {
  readonly train: TokenFile;
  /** Documents kept apart; undefined where there are none. */
  readonly heldOut: TokenFile | undefined;
  readonly report: SourceReport;
  /** Whether the tokens were there already. */
  readonly isReused: boolean;
}

/**
 * The tokens of a source, from the cache or made now: files are read here and tokenized on threads, in their order, so that the
 * result does not depend on their number. Appears in the cache whole or not at all.
 * @throws DataError what reading and encoding throw; `bad-records`, `empty-corpus`
 */
export async function prepareSource(spec: SourceSpec, options: PrepareOptions): Promise<PreparedSource> {
  const { cache, tokenizer, maxBadShare = 1, signal, onProgress = () => {} } = options;
  const totalBytes = (await Promise.all(spec.files.map(sizeOfFile))).reduce((a, b) => a + b, 0);
  const contents = await contentHashes(spec.files, cache, signal, (bytes) =>
    onProgress({ stage: "hash", bytes, totalBytes, tokens: 0 }),
  );
  const folder = join(cache, sourceKey(spec, contents, tokenizer.hash));
  const known = await openPrepared(folder);
  if (known !== undefined) {
    BadRecords.check(known.report, maxBadShare);
    return { ...known, isReused: true };
  }
  const partial = `${folder}.${process.pid}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  try {
    await tokenizeInto(partial, spec, totalBytes, options);
    await rename(partial, folder).catch(async (error: NodeJS.ErrnoException) => {
      // Another process was faster, or what is there is damaged.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
      await rm(folder, { recursive: true, force: true });
      await rename(partial, folder);
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  const made = await openPrepared(folder);
  if (made === undefined) throw new Error(`${folder}: the tokens just written cannot be read`);
  return { ...made, isReused: false };
}

async function openPrepared(folder: string): Promise<Omit<PreparedSource, "isReused"> | undefined> {
  const meta = await readMeta(folder);
  if (meta === undefined) return undefined;
  const train = await TokenFile.open(join(folder, "train"), meta.train);
  if (train === undefined) return undefined;
  if (meta.heldOut === null) return { train, heldOut: undefined, report: meta.report };
  const heldOut = await TokenFile.open(join(folder, "held-out"), meta.heldOut);
  if (heldOut === undefined) {
    train.close();
    return undefined;
  }
  return { train, heldOut, report: meta.report };
}

async function readMeta(folder: string): Promise<Meta | undefined> {
  try {
    const meta: unknown = JSON.parse(await readFile(join(folder, "meta.json"), "utf8"));
    return isObject(meta) && meta.version === 1 && isObject(meta.train) && isObject(meta.report)
      ? (meta as unknown as Meta)
      : undefined;
  } catch {
    return undefined;
  }
}

async function sizeOfFile(file: string): Promise<number> {
  const info = await stat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw new DataError("missing-file", "no such file", { file });
    throw error;
  });
  return info.size;
}
