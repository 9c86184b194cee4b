import type { QuickstartBase, QuickstartRun } from "./quickstart.js";

/** The closing table: what each way of post-training gained on code and forgot of prose, held-out, nats per token. */
export function comparisonTable(base: QuickstartBase, runs: readonly QuickstartRun[]): string {
  const change = (before: number, after: number) =>
    `${after < before ? "−" : "+"}${Math.abs(after - before).toFixed(3)}`;
  const rows = [
    ["", "parameters", "trainable", "time", "code loss", "gained", "prose loss", "forgotten"],
    [
      "base",
      count(base.parameters),
      "",
      `${base.seconds.toFixed(0)} s`,
      base.domain.toFixed(3),
      "",
      base.general.toFixed(3),
      "",
    ],
    ...runs.map((run) => [
      run.name,
      count(run.total_parameters),
      count(run.trainable_parameters),
      `${run.seconds.toFixed(0)} s`,
      run.domain_after.toFixed(3),
      change(run.domain_before, run.domain_after),
      run.general_after.toFixed(3),
      change(run.general_before, run.general_after),
    ]),
  ];
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "),
  );
  lines.splice(1, 0, widths.map((width) => "─".repeat(width)).join("──"));
  return lines.join("\n");
}

const count = (n: number) => n.toLocaleString("en");
