import type { ModelConfig } from "@slayer/checkpoint";
import type { SequenceBatch } from "@slayer/importance";

/** Tokens that a window predicts from. */
export function windowLength({ maxPositionEmbeddings }: ModelConfig): number {
  return Math.min(32, maxPositionEmbeddings);
}

/** Windows that go through the model together. */
export const TOGETHER = 4;

/** A text's ids cut into windows, each with one token more than {@link windowLength}, the last to be predicted only. */
export function windowsOf(ids: Int32Array, config: ModelConfig): Int32Array[] {
  const T = windowLength(config);
  const count = Math.floor((ids.length - 1) / T);
  if (count === 0) throw new RangeError(`expected a text of at least ${T + 1} tokens, it has ${ids.length}`);
  return Array.from({ length: count }, (_, i) => ids.subarray(i * T, (i + 1) * T + 1));
}

/** All windows but their last tokens, in order. */
export function* batches(windows: readonly Int32Array[]): Generator<SequenceBatch> {
  for (let i = 0; i < windows.length; i += TOGETHER) {
    const rows = windows.slice(i, i + TOGETHER).map((window) => window.subarray(0, -1));
    yield { ids: joined(rows), batch: rows.length, length: rows[0]!.length };
  }
}

export function joined(rows: readonly Int32Array[]): Int32Array {
  return Int32Array.from(rows.flatMap((row) => [...row]));
}
