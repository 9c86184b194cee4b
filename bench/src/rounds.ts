import type { Row, TimedRow } from "./report.js";

/**
 * Several rounds over the same cases, as one: the round in the middle, with the quickest first quartile of all and
 * the slowest third one. What other work
 * on the machine takes from one case lasts longer than its samples do, so that it is only seen between rounds.
 */
export function together(rounds: readonly (readonly Row[])[]): Row[] {
  return (rounds[0] ?? []).map((first, i) => {
    if ("unsupported" in first) return first;
    const rows = rounds.map((round) => round[i] as TimedRow);
    const typical = rows.toSorted((a, b) => a.medianSeconds - b.medianSeconds)[(rows.length - 1) >> 1] as TimedRow;
    return {
      ...typical,
      quartiles: [
        Math.min(...rows.map(({ quartiles }) => quartiles[0])),
        Math.max(...rows.map(({ quartiles }) => quartiles[1])),
      ] as const,
      samples: rows.reduce((sum, { samples }) => sum + samples, 0),
    };
  });
}
