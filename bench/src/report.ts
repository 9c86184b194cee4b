import { mkdir, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import type { Peaks } from "./peaks.js";
import type { Roofline } from "./roofline.js";

/** One line of the bench. */
export type Row = { readonly name: string } & (
  | ({ readonly medianSeconds: number; readonly spread: number; readonly samples: number } & Roofline)
  | { readonly unsupported: string }
);

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
    `${(100 * row.spread).toFixed(1)} %`,
    `${(100 * row.share).toFixed(1)} % ${row.bound}`,
  ];
}

function formatSeconds(seconds: number): string {
  if (seconds >= 1) return `${seconds.toFixed(3)} s`;
  return seconds >= 1e-3 ? `${(seconds * 1e3).toFixed(3)} ms` : `${(seconds * 1e6).toFixed(1)} µs`;
}

export function formatPeaks({ flops, bandwidth, method }: Peaks): string {
  return `peak ${(flops / 1e9).toFixed(2)} GFLOP/s, ${(bandwidth / 1e9).toFixed(2)} GB/s (${method})`;
}

/** The processor's name as a file name: lower case, words joined by hyphens. */
export function slug(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/\((r|tm)\)/g, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}

export function processor(): string {
  return cpus()[0]?.model.trim() ?? "unknown processor";
}

/** Where results go: `out` itself if it ends in .json, else <backend>-<cpu>.json in that folder. */
export function resultPath(out: string, backend: string): string {
  return out.endsWith(".json") ? out : join(out, `${backend}-${slug(processor())}.json`);
}

export async function writeResults(path: string, backend: string, peaks: Peaks, rows: readonly Row[]): Promise<void> {
  const result = { backend, cpu: processor(), node: process.version, date: new Date().toISOString(), peaks, rows };
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
}
