import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { processor, slug } from "../machine.mjs";
import type { Peaks } from "./peaks.js";
import type { Roofline } from "./roofline.js";

export type TimedRow = {
  readonly name: string;
  readonly medianSeconds: number;
  /** The first and the third. */
  readonly quartiles: readonly [number, number];
  readonly samples: number;
} & Roofline;

/** One line of the bench. */
export type Row = TimedRow | { readonly name: string; readonly unsupported: string };

/** What one run of the bench found. */
export interface Result {
  readonly backend: string;
  readonly device: string;
  readonly cpu: string;
  readonly node: string;
  readonly date: string;
  readonly peaks: Peaks;
  readonly rows: readonly Row[];
}

const HEADER = ["kernel", "median", "GFLOP/s", "GB/s", "spread", "of peak"];

/** The table's columns; spread is the interquartile range over the median. */
export function formatTable(rows: readonly Row[]): string {
  const cells = [HEADER, ...rows.map(formatRow)];
  const widths = HEADER.map((_, i) => Math.max(...cells.filter((row) => row.length > 2).map((row) => row[i]!.length)));
  return cells
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "))
    .join("\n");
}

function formatRow(row: Row): string[] {
  if ("unsupported" in row) return [row.name, `not supported: ${row.unsupported}`];
  return [
    row.name,
    formatSeconds(row.medianSeconds),
    row.flops === 0 ? "–" : (row.flops / 1e9).toFixed(2),
    (row.bandwidth / 1e9).toFixed(2),
    `${((100 * (row.quartiles[1] - row.quartiles[0])) / row.medianSeconds).toFixed(1)} %`,
    `${(100 * row.share).toFixed(1)} % ${row.bound}`,
  ];
}

export function formatSeconds(seconds: number): string {
  if (seconds >= 1) return `${seconds.toFixed(3)} s`;
  return seconds >= 1e-3 ? `${(seconds * 1e3).toFixed(3)} ms` : `${(seconds * 1e6).toFixed(1)} µs`;
}

/** The roof, then the single measurements: median, and the interquartile range over it. */
export function formatPeaks({ flops, bandwidth, method, details = [] }: Peaks): string {
  const lines = details.map(({ name, what, median, spread }) => {
    const unit = what === "flops" ? "GFLOP/s" : "GB/s";
    return `  ${name}: median ${(median / 1e9).toFixed(1)} ${unit}, spread ${(100 * spread).toFixed(1)} %`;
  });
  return [`peak ${(flops / 1e9).toFixed(2)} GFLOP/s, ${(bandwidth / 1e9).toFixed(2)} GB/s (${method})`, ...lines].join(
    "\n",
  );
}

/** Where results go: `out` itself if it ends in .json, else <backend>-<cpu>.json in that folder. */
export function resultPath(out: string, backend: string): string {
  return out.endsWith(".json") ? out : join(out, `${backend}-${slug(processor())}.json`);
}

export async function writeResult(path: string, result: Result): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(result, null, 1)}\n`);
}
