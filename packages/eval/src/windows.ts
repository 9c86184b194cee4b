import { EvalError } from "./errors.js";

/** Consecutive windows of equal length, to be run as one batch. */
export interface WindowBatch {
  /** [B·T] */
  readonly ids: Int32Array;
  /** B */
  readonly batch: number;
  /** T */
  readonly length: number;
}

export interface WindowOptions {
  /** Tokens per window; the last window may be shorter. */
  readonly sequenceLength: number;
  /** Windows per run at most. */
  readonly batch: number;
  /** Windows shorter than this are left out. */
  readonly least: number;
}

/**
 * Cuts `ids` into windows that don't overlap, in order. Equal shapes come one after the other and there are three at
 * most: full batches, what remains of them, and the short window at the end.
 */
export function windows(ids: Int32Array, { sequenceLength: T, batch, least }: WindowOptions): WindowBatch[] {
  if (!Number.isInteger(T) || T < least) {
    throw new EvalError(`the sequence length must be an integer of at least ${least}, got ${T}`);
  }
  if (!Number.isInteger(batch) || batch < 1) throw new EvalError(`the batch must be a positive integer, got ${batch}`);
  if (ids.length < least) throw new EvalError(`the text must have at least ${least} tokens, got ${ids.length}`);
  const batches: WindowBatch[] = [];
  const full = Math.floor(ids.length / T);
  for (let first = 0; first < full; first += batch) {
    const count = Math.min(batch, full - first);
    batches.push({ ids: ids.subarray(first * T, (first + count) * T), batch: count, length: T });
  }
  const rest = ids.subarray(full * T);
  if (rest.length >= least) batches.push({ ids: rest, batch: 1, length: rest.length });
  return batches;
}

/** Throws EvalError unless every id is in the vocabulary. */
export function checkIds(ids: Int32Array, vocabSize: number): void {
  const at = ids.findIndex((id) => id < 0 || id >= vocabSize);
  if (at < 0) return;
  throw new EvalError(
    `token ids go from 0 to ${vocabSize - 1}, got ${ids[at]} at position ${at}; ` +
      "use the tokenizer that belongs to the model",
  );
}
