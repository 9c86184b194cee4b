import type { Batch, Position, PrepareProgress } from "@slayer/data";
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
  /** Null where the data is streamed: nobody has counted. */
  documents: number | null;
  tokens: number | null;
  weight: number | null;
  records: number;
  badRecords: number;
  heldOutDocuments: number;
  /** Passes over it, as a fraction; where the data is streamed whole ones only. */
  epochs: number;
}

/** Micro-batches one after another, and where they stand. */
export interface BatchStream {
  /** Null after the last. */
  next(): Batch | null | Promise<Batch | null>;
  /** What `TrainingData.batches` goes on from. */
  position(): Position;
  /** Passes over each source of the mixture so far. */
  epochs(): number[];
}

/** A recipe's data, as tokens of the model's tokenizer. */
export interface TrainingData {
  /** sft: the text of the template that conversations were put into. */
  readonly chatTemplate: string | undefined;
  /** From the start or from `position`. */
  batches(position?: Position): Promise<BatchStream>;
  /** Optimizer steps that the recipe's steps, epochs or tokens come to. */
  steps(recipe: Recipe): number;
  /** Where each source stands when these batches stand where they do. */
  summary(batches: Pick<BatchStream, "epochs">): SourceSummary[];
  /** What was kept apart of each source, one run of ids with boundary tokens, and the size of its text in UTF-8. */
  heldOut(): { path: string; ids: Int32Array; bytes: number }[];
  close(): Promise<void>;
}

/** Steps in which so many tokens are seen, at least one. */
export function stepsOfTokens(tokens: number, sequences: number, sequenceLength: number): number {
  return Math.max(1, Math.floor(tokens / (sequences * sequenceLength)));
}
