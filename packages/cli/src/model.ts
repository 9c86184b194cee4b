import { Checkpoint } from "@slayer/checkpoint";
import { DocumentReader, expandPath, type ReadOptions, Tokenizer } from "@slayer/data";
import { loadWeights } from "@slayer/model";
import { type Backend, Store } from "@slayer/tensor";
import type { Command } from "commander";
import { Option } from "commander";
import { UserError } from "./errors.js";
import type { Run } from "./run.js";

/** Opens a checkpoint for `body` and closes it afterwards. */
export async function withCheckpoint<T>(dir: string, body: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = await Checkpoint.open(dir);
  try {
    return await body(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

/** All weights of a checkpoint in a backend's memory: as stored where that is BF16 and the backend has it, else as f32. */
export async function loadModel(run: Run, checkpoint: Checkpoint, backend: Backend): Promise<Store> {
  const store = new Store(backend);
  const { signal } = run;
  const bf16 = backend.capabilities.dtypes.includes("bf16");
  checkpoint.validate();
  await run.progress({ label: "load weights", total: checkpoint.tensors.size, unit: "tensors" }, (progress) =>
    loadWeights(checkpoint, store, { bf16, signal, onProgress: (done) => progress.update(done) }),
  );
  return store;
}

export interface TextOptions {
  readonly data: string[];
  readonly format: NonNullable<ReadOptions["format"]>;
  readonly field: string;
}

/** The options that say which text a verb reads. */
export function addTextOptions(command: Command): Command {
  return command
    .requiredOption(
      "--data <file...>",
      "text files (.txt, .md), JSONL files, each also as .gz or .zst, Parquet files; or patterns",
    )
    .addOption(
      new Option("--format <format>", "of the data")
        .choices(["auto", "text", "jsonl", "json", "parquet"])
        .default("auto"),
    )
    .option("--field <name>", "the field of a record that holds the text", "text");
}

/** One text with the tokens that its model's tokenizer makes of it. */
export interface TokenizedDocument {
  readonly ids: Int32Array;
  /** Length of the text in UTF-8. */
  readonly bytes: number;
}

/** The documents of the files, each tokenised whole, with what the tokenizer itself adds (a BOS for Llama). */
export async function tokenizeFiles(
  run: Run,
  model: string,
  { data, format, field }: TextOptions,
): Promise<TokenizedDocument[]> {
  const tokenizer = await Tokenizer.load(model);
  const files = await Promise.all(data.map((pattern) => expandPath(pattern, [""])));
  const reader = new DocumentReader(files.flat(), { format, field });
  const documents: TokenizedDocument[] = [];
  for await (const { text } of reader) {
    run.signal.throwIfAborted();
    documents.push({ ids: tokenizer.encode(text), bytes: Buffer.byteLength(text) });
  }
  if (reader.badRecords > 0) {
    const [first] = reader.bad;
    run.warn(`${reader.badRecords} records left out, the first at ${first?.file}:${first?.line}: ${first?.reason}`);
  }
  if (documents.every(({ ids }) => ids.length === 0)) {
    throw new UserError(`${data.join(", ")}: expected text, found none`);
  }
  return documents;
}

/** All ids of all documents, one after the other. */
export function concatenate(documents: readonly TokenizedDocument[]): Int32Array {
  const ids = new Int32Array(documents.reduce((sum, document) => sum + document.ids.length, 0));
  let done = 0;
  for (const document of documents) {
    ids.set(document.ids, done);
    done += document.ids.length;
  }
  return ids;
}
