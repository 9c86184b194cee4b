import { NOT_SCORED, PADDING, type SequenceRow } from "./sequence-row.js";
import type { PackingSettings } from "./settings.js";

/** A batch's arrays, each [B, T], row-major; all padding. */
export function emptyRows(batchSize: number, { sequenceLength, boundary }: PackingSettings): SequenceRow {
  const size = batchSize * sequenceLength;
  return {
    inputIds: new Int32Array(size).fill(boundary.after ?? boundary.before ?? 0),
    targets: new Int32Array(size).fill(NOT_SCORED),
    positions: Int32Array.from({ length: size }, (_, i) => i % sequenceLength),
    segments: new Int32Array(size).fill(PADDING),
  };
}

/** One row of such arrays, in place. */
export function rowOf(arrays: SequenceRow, row: number, sequenceLength: number): SequenceRow {
  const part = (array: Int32Array): Int32Array => array.subarray(row * sequenceLength, (row + 1) * sequenceLength);
  const { inputIds, targets, positions, segments } = arrays;
  return { inputIds: part(inputIds), targets: part(targets), positions: part(positions), segments: part(segments) };
}
