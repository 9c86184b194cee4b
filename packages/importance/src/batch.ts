import type { ModelConfig } from "@slayer/checkpoint";
import { IGNORE_TARGET } from "@slayer/tensor";
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

/** Padding may hold any id, even one outside the vocabulary; no valid token sees it, since attention is causal. */
export function cleanIds({ ids, length: T, lengths }: SequenceBatch): Int32Array {
  return ids.map((id, i) => (i % T < (lengths?.[Math.floor(i / T)] ?? T) ? id : 0));
}

/**
 * Next-token targets [B·T]: each valid token but a sequence's first is scored, given those before it.
 * @throws ImportanceError for a sequence with nothing to score
 */
export function nextTokenTargets({ ids, batch, length: T, lengths }: SequenceBatch): Int32Array {
  const targets = new Int32Array(batch * T).fill(IGNORE_TARGET);
  for (let b = 0; b < batch; b++) {
    const valid = lengths?.[b] ?? T;
    if (valid < 2) throw new ImportanceError(`a loss wants sequences of at least 2 tokens, sequence ${b} has ${valid}`);
    for (let i = b * T; i < b * T + valid - 1; i++) targets[i] = ids[i + 1]!;
  }
  return targets;
}

/** How many of the targets of row `b` are scored. */
export function scoredTokens(targets: Int32Array, b: number, T: number): number {
  return targets.subarray(b * T, (b + 1) * T).reduce((sum, target) => sum + Number(target !== IGNORE_TARGET), 0);
}

/** Sum of each row's losses [B], in f64; `nll` [B·T] is 0 where nothing is scored. */
export function sumRows(nll: ArrayLike<number>, batch: number, T: number): Float64Array {
  const sums = new Float64Array(batch);
  for (let i = 0; i < batch * T; i++) sums[Math.floor(i / T)]! += nll[i]!;
  return sums;
}
