import { join } from "node:path";
import {
  Batches,
  type BatchSettings,
  boundaryOf,
  JoinedSource,
  type Position,
  type PreparedSource,
  prepareSource,
  type SourceSpec,
  type Tokenizer,
  type TokenSource,
  type WeightedSource,
} from "@slayer/data";
import { describeBad, nameOf, sourceSpecs } from "./data-files.js";
import type { Recipe } from "./recipe.js";
import type { BatchStream, DataOptions, SourceSummary, TrainingData } from "./training-data.js";
import { stepsOfTokens } from "./training-data.js";

/** More tokens of held-out documents are not evaluated: the error of the mean is small by then. */
const MOST_HELD_OUT = 2 ** 22;

/** Data that is tokenized once, before training, and read from its files in any order. */
export class TokenizedData implements TrainingData {
  readonly #recipe: Recipe;
  readonly #prepared: readonly PreparedSource[];
  readonly #settings: BatchSettings;
  readonly #warn: (message: string) => void;

  readonly chatTemplate: string | undefined;

  private constructor(
    recipe: Recipe,
    prepared: readonly PreparedSource[],
    tokenizer: Tokenizer,
    chatTemplate: string | undefined,
    warn: (message: string) => void,
  ) {
    this.#recipe = recipe;
    this.#warn = warn;
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

  static async open(recipe: Recipe, tokenizer: Tokenizer, options: DataOptions = {}): Promise<TokenizedData> {
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
        const left = describeBad(path, source.report);
        if (left !== undefined) warn(left);
      }
      const [{ read }] = specs as [SourceSpec];
      const template = read.kind === "chat" ? read.template.template : undefined;
      return new TokenizedData(recipe, prepared, tokenizer, template, warn);
    } catch (error) {
      closeAll(prepared);
      throw error;
    }
  }

  async batches(position?: Position): Promise<Batches> {
    const sources = this.#sources();
    const batches = position ? Batches.resume(sources, this.#settings, position) : new Batches(sources, this.#settings);
    const { epochs, batch } = this.#recipe;
    if (epochs !== undefined && epochs * batches.sequencesPerEpoch < batch.sequences) {
      const found = (epochs * batches.sequencesPerEpoch).toFixed(1);
      this.#warn(
        `${epochs} epochs are ${found} sequences, fewer than the ${batch.sequences} of a step; one step is made`,
      );
    }
    const { truncated, leftOut } = batches.shortened();
    if (truncated + leftOut > 0) {
      const all = this.#prepared.reduce((n, { train }) => n + train.documents, 0);
      this.#warn(
        `${truncated + leftOut} of ${all} documents are longer than sequence_length (${this.#settings.sequenceLength}): ` +
          `${truncated} lose their end, ${leftOut} are left out, since nothing of them would be scored`,
      );
    }
    return batches;
  }

  /** Sources by weight; without weights all together are one. */
  #sources(): TokenSource | WeightedSource[] {
    const { data } = this.#recipe;
    if (data[0]!.weight === undefined) return JoinedSource.of(this.#prepared.map(({ train }) => train));
    return this.#prepared.map(({ train }, i) => ({ source: train, weight: data[i]!.weight! }));
  }

  steps({ steps, epochs, tokens, batch, sequence_length }: Recipe): number {
    if (epochs === undefined) return steps ?? stepsOfTokens(tokens!, batch.sequences, sequence_length);
    const { sequencesPerEpoch } = new Batches(this.#sources(), this.#settings);
    return Math.max(1, Math.floor((epochs * sequencesPerEpoch) / batch.sequences));
  }

  summary(batches: Pick<BatchStream, "epochs">): SourceSummary[] {
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

  async close(): Promise<void> {
    closeAll(this.#prepared);
  }
}

function closeAll(prepared: readonly PreparedSource[]): void {
  for (const { train, heldOut } of prepared) {
    train.close();
    heldOut?.close();
  }
}
