import type { Peaks } from "./peaks.js";
import type { Result, Row, TimedRow } from "./report.js";

/** A kernel that has become slower by more than chance explains. */
export interface Regression {
  readonly name: string;
  readonly before: number;
  readonly now: number;
  /** Seconds that were allowed for the quicker quarter of the runs. */
  readonly allowed: number;
}

/** What a machine's other work may cost in a run that seems undisturbed, beyond the spread that was seen. */
const SLACK = 1.05;

/**
 * Kernels whose quicker quarter of runs takes longer than the slower quarter did in the slowest round of the baseline, and 5 %
 * more: then at least three of four runs are slower than three of four were in any. A baseline of a machine that had a higher peak that day is lengthened
 * by as much, one with a lower peak is not shortened.
 */
export function regressions(now: Result, baseline: Result): Regression[] {
  const before = new Map(timed(baseline.rows).map((row) => [row.name, row]));
  return timed(now.rows).flatMap((row) => {
    const base = before.get(row.name);
    if (base === undefined) return [];
    const allowed = base.quartiles[1] * SLACK * slowdown(now.peaks, baseline.peaks, row.bound);
    if (row.quartiles[0] <= allowed) return [];
    return [{ name: row.name, before: base.medianSeconds, now: row.medianSeconds, allowed }];
  });
}

/** Names of timed kernels that the baseline does not know. */
export function unknown(now: Result, baseline: Result): string[] {
  const names = new Set(timed(baseline.rows).map(({ name }) => name));
  return timed(now.rows)
    .map(({ name }) => name)
    .filter((name) => !names.has(name));
}

function timed(rows: readonly Row[]): TimedRow[] {
  return rows.filter((row): row is TimedRow => !("unsupported" in row));
}

function slowdown(now: Peaks, before: Peaks, bound: "compute" | "memory"): number {
  const ratio = bound === "compute" ? before.flops / now.flops : before.bandwidth / now.bandwidth;
  return Math.max(1, ratio);
}
