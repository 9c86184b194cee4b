import { join } from "node:path";
import {
  Batches,
  type BatchSettings,
  boundaryOf,
  DocumentReader,
  expandPath,
  JoinedSource,
  loadChatTemplate,
  type Position,
  type PreparedSource,
  type PrepareProgress,
  prepareSource,
  type Preview,
  previewSource,
  type SourceSpec,
  Tokenizer,
  type TokenSource,
  type WeightedSource,
} from "@slayer/data";
import type { Recipe } from "./recipe.js";

export interface DataOptions {
  /** Where relative data paths are looked for first, the recipe's folder; then in the current directory. */
  readonly directory?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly warn?: ((message: string) => void) | undefined;
  /** While a source is tokenized. */
  readonly onTokenize?: ((progress: PrepareProgress & { path: string }) => void) | undefined;
}

/** One entry of the recipe's data, and what it holds. */
export interface SourceSummary {
  path: string;
  documents: number;
  tokens: number;
  weight: number | null;
  records: number;
  badRecords: number;
  heldOutDocuments: number;
  /** Passes over it, as a fraction. */
  epochs: number;
}

/** More tokens of held-out documents are not evaluated: the error of the mean is small by then. */
const MOST_HELD_OUT = 2 ** 22;

const nameOf = (path: string | readonly string[]): string => (typeof path === "string" ? path : path.join(", "));
const places = (directory: string | undefined): string[] => [...(directory === undefined ? [] : [directory]), ""];

/** The recipe's data, tokenized with the model's tokenizer, as micro-batches from the start or from `position`. */
export class TrainingData {
  readonly #recipe: Recipe;
  readonly #prepared: readonly PreparedSource[];
  readonly #settings: BatchSettings;

  /** sft: the text of the template that conversations were put into. */
  readonly chatTemplate: string | undefined;

  private constructor(
    recipe: Recipe,
    prepared: readonly PreparedSource[],
    tokenizer: Tokenizer,
    chatTemplate: string | undefined,
  ) {
    this.#recipe = recipe;
    this.chatTemplate = chatTemplate;
    this.#prepared = prepared;
    const { stage, batch, sequence_length: sequenceLength, seed } = recipe;
    this.#settings = {
      sequenceLength,
      mode: recipe.packing,
      // A chat template writes its own.
      boundary: stage === "sft" ? {} : boundaryOf(tokenizer),
      shuffle: { documents: true, sequences: true },
      seed,
      batchSize: batch.micro ?? batch.sequences,
    };
  }

  static async open(recipe: Recipe, tokenizer: Tokenizer, options: DataOptions = {}): Promise<TrainingData> {
    const { signal, onTokenize, warn = () => {} } = options;
    const prepared: PreparedSource[] = [];
    try {
      const specs = await sourceSpecs(recipe, options.directory);
      for (const [i, spec] of specs.entries()) {
        const path = nameOf(recipe.data[i]!.path);
        const source = await prepareSource(spec, {
          tokenizer,
          directory: recipe.model,
          cache: recipe.token_cache ?? join(recipe.out, "tokens"),
          maxBadShare: recipe.bad_records,
          ...(signal && { signal }),
          ...(onTokenize && { onProgress: (progress) => onTokenize({ ...progress, path }) }),
        });
        prepared.push(source);
        const { badRecords, records, bad } = source.report;
        if (badRecords === 0) continue;
        const shown = bad.slice(0, 5).map(({ file, line, reason }) => `${file}:${line}: ${reason}`);
        const rest = badRecords > shown.length ? `; and ${badRecords - shown.length} more` : "";
        warn(`${path}: ${badRecords} of ${records} records left out: ${shown.join("; ")}${rest}`);
      }
      const [{ read }] = specs as [SourceSpec];
      return new TrainingData(recipe, prepared, tokenizer, read.kind === "chat" ? read.template.template : undefined);
    } catch (error) {
      closeAll(prepared);
      throw error;
    }
  }

  batches(position?: Position): Batches {
    const sources = this.#sources();
    return position ? Batches.resume(sources, this.#settings, position) : new Batches(sources, this.#settings);
  }

  /** Sources by weight; without weights all together are one. */
  #sources(): TokenSource | WeightedSource[] {
    const { data } = this.#recipe;
    if (data[0]!.weight === undefined) return JoinedSource.of(this.#prepared.map(({ train }) => train));
    return this.#prepared.map(({ train }, i) => ({ source: train, weight: data[i]!.weight! }));
  }

  /** Optimizer steps that the recipe's steps, epochs or tokens come to. */
  steps({ steps, epochs, tokens, batch, sequence_length }: Recipe): number {
    if (steps !== undefined) return steps;
    if (tokens !== undefined) return Math.max(1, Math.floor(tokens / (batch.sequences * sequence_length)));
    return Math.max(1, Math.floor((epochs! * this.batches().sequencesPerEpoch) / batch.sequences));
  }

  /** Where each source stands. */
  summary(batches: Batches): SourceSummary[] {
    const epochs = batches.epochs();
    return this.#prepared.map(({ train, heldOut, report }, i) => ({
      path: nameOf(this.#recipe.data[i]!.path),
      documents: train.documents,
      tokens: train.offsets.at(-1)!,
      weight: this.#recipe.data[i]!.weight ?? null,
      records: report.records,
      badRecords: report.badRecords,
      heldOutDocuments: heldOut?.documents ?? 0,
      epochs: epochs[epochs.length === 1 ? 0 : i]!,
    }));
  }

  /** What was kept apart of each source, one run of ids with boundary tokens, and the size of its text in UTF-8. */
  heldOut(): { path: string; ids: Int32Array; bytes: number }[] {
    return this.#prepared.flatMap(({ heldOut, report }, i) => {
      if (heldOut === undefined) return [];
      const all = heldOut.offsets.at(-1)! + heldOut.documents;
      const { before, after } = this.#settings.boundary;
      const ids = new Int32Array(Math.min(all, MOST_HELD_OUT));
      let at = 0;
      for (let d = 0; d < heldOut.documents && at < ids.length; d++) {
        const own = new Int32Array(heldOut.offsets[d + 1]! - heldOut.offsets[d]!);
        heldOut.read(heldOut.offsets[d]!, own);
        const document = [...(before === undefined ? [] : [before]), ...own, ...(after === undefined ? [] : [after])];
        ids.set(document.slice(0, ids.length - at), at);
        at += document.length;
      }
      const bytes = report.heldOutBytes * (ids.length / all);
      return [{ path: `held out of ${nameOf(this.#recipe.data[i]!.path)}`, ids, bytes }];
    });
  }

  close(): void {
    closeAll(this.#prepared);
  }
}

/** Tokenizes a recipe's data, or finds it tokenized; `train` takes it as its option `data` and closes it. */
export async function openData(recipe: Recipe, options: DataOptions = {}): Promise<TrainingData> {
  return TrainingData.open(recipe, await Tokenizer.load(recipe.model), options);
}

function closeAll(prepared: readonly PreparedSource[]): void {
  for (const { train, heldOut } of prepared) {
    train.close();
    heldOut?.close();
  }
}

async function sourceSpecs(recipe: Recipe, directory: string | undefined): Promise<SourceSpec[]> {
  const { stage, chat_template: own } = recipe;
  const template =
    stage === "sft"
      ? await loadChatTemplate(
          recipe.model,
          own === undefined ? undefined : (await expandPath(own, places(directory)))[0],
        )
      : undefined;
  return Promise.all(
    recipe.data.map(async ({ path, text: field, layout, format }) => {
      const patterns = typeof path === "string" ? [path] : path;
      const files = (await Promise.all(patterns.map((pattern) => expandPath(pattern, places(directory))))).flat();
      const read = template ? { kind: "chat" as const, layout, template } : { kind: "text" as const, field };
      return { files, read, format, heldOut: recipe.held_out };
    }),
  );
}

/** The first `count` documents or conversations of each source as they are trained on, token by token; nothing is kept. */
export async function previewData(
  recipe: Recipe,
  count: number,
  options: Pick<DataOptions, "directory"> = {},
): Promise<{ path: string; examples: Preview[] }[]> {
  const tokenizer = await Tokenizer.load(recipe.model);
  const found = [];
  for (const [i, spec] of (await sourceSpecs(recipe, options.directory)).entries()) {
    const examples = await previewSource(spec, { tokenizer, directory: recipe.model }, count);
    found.push({ path: nameOf(recipe.data[i]!.path), examples });
  }
  return found;
}

/** Held-out files as one run of ids, each document with the tokenizer's own post-processing, and their size in UTF-8. */
export async function heldOutIds(
  path: string,
  tokenizer: Tokenizer,
  directory?: string,
): Promise<{ ids: Int32Array; bytes: number }> {
  const parts: Int32Array[] = [];
  let bytes = 0;
  for await (const { text } of new DocumentReader(await expandPath(path, places(directory)))) {
    parts.push(tokenizer.encode(text));
    bytes += Buffer.byteLength(text);
  }
  const ids = new Int32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, bytes };
}
