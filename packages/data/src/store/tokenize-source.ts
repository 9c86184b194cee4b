import { availableParallelism } from "node:os";
import { join } from "node:path";
import { DataError } from "../errors.js";
import { writeFileAtomically } from "../files.js";
import { type BadRecord, BadRecords } from "../sources/bad-records.js";
import { isHeldOut } from "../sources/held-out.js";
import { RecordReader } from "../sources/records.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { type EncodedItems, type Item } from "./encode-items.js";
import { type Encoder, localEncoder, threadEncoder } from "./encoder-pool.js";
import { parserOf, sizeOf, type SourceSpec } from "./source-spec.js";
import { type TokenFileInfo, TokenWriter } from "./token-file.js";

export interface PrepareOptions {
  readonly tokenizer: Tokenizer;
  /** Where the tokenizer's files are; threads load it from there. */
  readonly directory: string;
  /** A folder for tokenized sources; what is there already is not made again. */
  readonly cache: string;
  /** The share of bad records (0 … 1) above which it is an error. Default 1: never. */
  readonly maxBadShare?: number;
  /** Default: one per processor; for little text this one alone. Conversations always get threads of their own. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: PrepareProgress) => void;
}

export interface PrepareProgress {
  /** Files are read twice: to see whether they have been tokenized before, and if not to do it. */
  readonly stage: "hash" | "tokenize";
  /** Bytes of the files read, of all. */
  readonly bytes: number;
  readonly totalBytes: number;
  readonly tokens: number;
}

/** What came of a source; kept with its tokens. */
export interface SourceReport {
  /** Records seen, bad ones included. */
  readonly records: number;
  readonly badRecords: number;
  /** The first hundred of them. */
  readonly bad: readonly BadRecord[];
  /** UTF-8 bytes of the texts held out. */
  readonly heldOutBytes: number;
}

/** meta.json of a tokenized source. */
export interface Meta {
  readonly version: 1;
  readonly train: TokenFileInfo;
  readonly heldOut: TokenFileInfo | null;
  readonly report: SourceReport;
}

const LITTLE_BYTES = 4 * 1024 * 1024;
const BATCH_CHARACTERS = 256 * 1024;
const BATCH_ITEMS = 512;

/** Reads, encodes and writes a source into a folder that is there; meta.json is its last file. */
export async function tokenizeInto(
  folder: string,
  spec: SourceSpec,
  totalBytes: number,
  options: PrepareOptions,
): Promise<void> {
  const { tokenizer, signal, maxBadShare = 1, onProgress = () => {} } = options;
  const reader = new RecordReader(spec.files, parserOf(spec), { format: spec.format ?? "auto", maxBadShare });
  const width = tokenizer.vocabSize <= 2 ** 15 ? 2 : 4;
  const train = await TokenWriter.create(join(folder, "train"), width, tokenizer.hash);
  const heldOut = await TokenWriter.create(join(folder, "held-out"), width, tokenizer.hash);
  const [encoder, lookahead] = await encoderFor(spec, options, totalBytes);
  const unread = new BadRecords();
  let heldOutBytes = 0;
  try {
    const pending: { batch: Batch; encoded: Promise<EncodedItems> }[] = [];
    const writeFirst = async (): Promise<void> => {
      const { batch, encoded } = pending.shift()!;
      const { tokens, lengths, reasons } = await encoded;
      for (const [index, reason] of reasons) unread.add({ ...batch.places[index]!, reason });
      let at = 0;
      for (const [i, length] of lengths.entries()) {
        const item = batch.items[i]!;
        if (length === 0) continue;
        const isHeld = typeof item === "string" && isHeldOut(item, spec.heldOut ?? 0);
        if (isHeld) heldOutBytes += Buffer.byteLength(item);
        await (isHeld ? heldOut : train).append(tokens.subarray(at, at + length));
        at += length;
      }
      onProgress({ stage: "tokenize", bytes: batch.bytesRead, totalBytes, tokens: train.tokens + heldOut.tokens });
    };
    for await (const batch of batchesOf(reader)) {
      signal?.throwIfAborted();
      const encoded = encoder.encode(batch.items);
      encoded.catch(() => {}); // it is awaited later, unless an earlier one fails
      pending.push({ batch, encoded });
      if (pending.length > lookahead) await writeFirst();
    }
    while (pending.length > 0) await writeFirst();
    const report: SourceReport = {
      records: reader.records,
      badRecords: reader.badRecords + unread.count,
      bad: [...reader.bad, ...unread.first].slice(0, 100),
      heldOutBytes,
    };
    BadRecords.check(report, maxBadShare);
    if (train.tokens === 0) {
      const [first] = report.bad;
      const why = first === undefined ? "" : `; the first record cannot be read: ${first.reason}`;
      throw new DataError("empty-corpus", `expected at least one document with text, found none${why}`, {
        file: spec.files[0]!,
      });
    }
    const meta: Meta = {
      version: 1,
      train: await train.finish(),
      heldOut: heldOut.tokens > 0 ? await heldOut.finish() : null,
      report,
    };
    await writeFileAtomically(join(folder, "meta.json"), `${JSON.stringify(meta, null, 2)}\n`);
  } finally {
    await encoder.close();
    await train.close();
    await heldOut.close();
  }
}

/** And how many batches may be under way. */
async function encoderFor(
  { read }: SourceSpec,
  { directory, tokenizer, threads }: PrepareOptions,
  bytes: number,
): Promise<[Encoder, number]> {
  const spec = { directory, tokenizerHash: tokenizer.hash, ...(read.kind === "chat" && { chat: read.template }) };
  const count = threads ?? (bytes < LITTLE_BYTES ? 0 : availableParallelism());
  // A template is a program: it runs where it can be ended.
  if (read.kind === "text" && count === 0) return [await localEncoder(spec), 0];
  return [threadEncoder(spec, Math.max(1, count)), 2 * Math.max(1, count)];
}

interface Batch {
  readonly items: Item[];
  readonly places: { readonly file: string; readonly line: number }[];
  /** Of the files, when the last item was read. */
  readonly bytesRead: number;
}

async function* batchesOf(reader: RecordReader<Item>): AsyncGenerator<Batch> {
  let items: Item[] = [];
  let places: Batch["places"] = [];
  let characters = 0;
  for await (const { value, file, line } of reader) {
    items.push(value);
    places.push({ file, line });
    characters += sizeOf(value);
    if (items.length < BATCH_ITEMS && characters < BATCH_CHARACTERS) continue;
    yield { items, places, bytesRead: reader.bytesRead };
    items = [];
    places = [];
    characters = 0;
  }
  if (items.length > 0) yield { items, places, bytesRead: reader.bytesRead };
}
