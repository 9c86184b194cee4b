import { boundaryOf, type Position, StreamedBatches, type StreamedSource, type Tokenizer } from "@slayer/data";
import { describeBad, nameOf, sourceSpecs } from "./data-files.js";
import type { Recipe } from "./recipe.js";
import type { BatchStream, DataOptions, SourceSummary, TrainingData } from "./training-data.js";
import { stepsOfTokens } from "./training-data.js";

/** Data that is tokenized as it is used, and never kept: documents in the order of their files, pass after pass. */
export class StreamedData implements TrainingData {
  readonly chatTemplate = undefined;
  readonly #recipe: Recipe;
  readonly #tokenizer: Tokenizer;
  readonly #sources: readonly StreamedSource[];
  readonly #warn: (message: string) => void;
  #open: StreamedBatches | undefined;

  private constructor(
    recipe: Recipe,
    tokenizer: Tokenizer,
    sources: readonly StreamedSource[],
    warn: (message: string) => void,
  ) {
    this.#recipe = recipe;
    this.#tokenizer = tokenizer;
    this.#sources = sources;
    this.#warn = warn;
  }

  static async open(recipe: Recipe, tokenizer: Tokenizer, options: DataOptions = {}): Promise<StreamedData> {
    const specs = await sourceSpecs(recipe, options.directory);
    // Sources by weight; without weights all together are one.
    const sources =
      recipe.data[0]!.weight === undefined
        ? [{ specs, weight: 1 }]
        : specs.map((spec, i) => ({ specs: [spec], weight: recipe.data[i]!.weight! }));
    const data = new StreamedData(recipe, tokenizer, sources, options.warn ?? (() => {}));
    // Whatever is wrong at the beginning is said now, and not when an old run has been given up for this one.
    const first = await data.#begin();
    try {
      await first.next();
    } finally {
      await first.close();
    }
    return data;
  }

  /** Ends the batches given before. */
  async batches(position?: Position): Promise<BatchStream> {
    await this.close();
    this.#open = await this.#begin(position);
    return this.#open;
  }

  #begin(position?: Position): Promise<StreamedBatches> {
    const { sequence_length: sequenceLength, batch, packing, model, bad_records: maxBadShare } = this.#recipe;
    const settings = {
      ...{ sequenceLength, batchSize: batch.micro ?? batch.sequences, boundary: boundaryOf(this.#tokenizer) },
      mode: packing as "concatenate" | "documents",
    };
    const options = { tokenizer: this.#tokenizer, directory: model, maxBadShare };
    return StreamedBatches.open(this.#sources, settings, options, position);
  }

  steps({ steps, tokens, batch, sequence_length }: Recipe): number {
    return steps ?? stepsOfTokens(tokens!, batch.sequences, sequence_length);
  }

  summary(batches: Pick<BatchStream, "epochs">): SourceSummary[] {
    const [epochs, reports] = [batches.epochs(), this.#open?.reports() ?? []];
    return this.#recipe.data.map(({ path, weight }, i) => {
      // What is read as one source has one report, which stands with the first entry.
      const of = this.#sources.length === 1 && this.#recipe.data.length > 1 ? 0 : i;
      const report = i === of ? reports[of] : undefined;
      const { records = 0, badRecords = 0 } = report ?? {};
      const known = { path: nameOf(path), weight: weight ?? null, records, badRecords };
      return { ...known, documents: null, tokens: null, heldOutDocuments: 0, epochs: epochs[of]! };
    });
  }

  heldOut(): [] {
    return [];
  }

  /** Says what was left out. */
  async close(): Promise<void> {
    this.#open?.reports().forEach((report, i) => {
      const paths = this.#sources.length === 1 ? this.#recipe.data : [this.#recipe.data[i]!];
      const left = describeBad(paths.map(({ path }) => nameOf(path)).join(", "), report);
      if (left !== undefined) this.#warn(left);
    });
    await this.#open?.close();
  }
}
