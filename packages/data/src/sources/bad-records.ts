import { DataError } from "../errors.js";

export interface BadRecord {
  readonly file: string;
  /** Line, row of a Parquet file, or place in a JSON file's list, from 1. */
  readonly line: number;
  readonly reason: string;
}

/** Records that could not be read: how many, and the first hundred. */
export class BadRecords {
  count = 0;
  readonly first: BadRecord[] = [];

  add(record: BadRecord): void {
    this.count++;
    if (this.first.length < 100) this.first.push(record);
  }

  /** @throws DataError `bad-records` if more than `maxShare` of the records are bad */
  static check(
    found: { readonly records: number; readonly badRecords: number; readonly bad: readonly BadRecord[] },
    maxShare: number,
  ): void {
    const { records, badRecords, bad } = found;
    if (badRecords <= maxShare * records) return;
    const { file, line, reason } = bad[0]!;
    throw new DataError(
      "bad-records",
      `${badRecords} of ${records} records cannot be read, more than a share of ${maxShare}; the first: ${reason}`,
      { file, line },
    );
  }
}
