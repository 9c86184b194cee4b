import type { ModelConfig } from "@slayer/checkpoint";
import { ImportanceError } from "./errors.js";

/** Token sequences of one length, padded at the end where they are shorter. */
export interface SequenceBatch {
  /** [B·T]; what stands in the padding does not matter */
  readonly ids: Int32Array;
  /** B */
  readonly batch: number;
  /** T, tokens per sequence, padding included */
  readonly length: number;
  /** [B], valid tokens per sequence, 1 … T; absent: all are valid. */
  readonly lengths?: ArrayLike<number>;
}

/** Throws ImportanceError unless the batch fits its own sizes and the model's vocabulary. */
export function checkBatch({ vocabSize }: ModelConfig, { ids, batch, length, lengths }: SequenceBatch): void {
  if (ids.length !== batch * length || ids.length === 0) {
    throw new ImportanceError(
      `a batch of ${batch} sequences of ${length} tokens has ${batch * length} ids, got ${ids.length}`,
    );
  }
  if (lengths !== undefined && lengths.length !== batch) {
    throw new ImportanceError(`a batch of ${batch} sequences has ${batch} lengths, got ${lengths.length}`);
  }
  for (let b = 0; b < batch; b++) {
    const valid = lengths?.[b] ?? length;
    if (!Number.isInteger(valid) || valid < 1 || valid > length) {
      throw new ImportanceError(`sequence ${b} of ${length} tokens wants 1 to ${length} valid ones, got ${valid}`);
    }
    const outside = ids.subarray(b * length, b * length + valid).find((id) => id < 0 || id >= vocabSize);
    if (outside !== undefined) {
      throw new ImportanceError(
        `token ids go from 0 to ${vocabSize - 1}, got ${outside}; use the tokenizer that belongs to the model`,
      );
    }
  }
}
