import type { StepFlops, TrainingMemory } from "./cost.js";
import type { BlockRow, PlanSummary } from "./summary.js";

/** A plan's summary as text for a terminal: block table, parameters, cost of training, disk, notes. */
export function formatPlan(summary: PlanSummary): string {
  const { parameters, trainable, flops } = summary;
  const { name, ...options } = summary.recipe;
  const given = Object.entries(options).map(([option, value]) => `${option}=${value}`);
  const everything = flops.everything.total;
  const share = everything === 0 ? 0 : (100 * flops.planned.total) / everything;
  return [
    `${name}  ${given.join("  ")}`,
    `${summary.baseBlocks} blocks -> ${summary.blocks}; ` +
      (summary.preservesFunction ? "same function as the base" : "the function changes"),
    "",
    ...table(["block", "kind", "from base", "zeroed"], summary.rows.map(blockCells)),
    "",
    ...table(
      ["parameters", ""],
      [
        ["base", count(parameters.base)],
        ["total", count(parameters.total)],
        ["per block", count(parameters.perBlock)],
        [`trainable, ${trainable.blocks.length} blocks`, count(trainable.parameters)],
        ["trainable, and one vocabulary matrix", count(trainable.parametersWithVocabulary)],
      ],
    ),
    "",
    ...table(
      [`FLOPs per token, sequence ${flops.planned.sequenceLength}`, "this plan", "training everything"],
      flopRows(flops.planned, flops.everything),
    ),
    `this plan takes ${share.toFixed(1)} % of training everything`,
    "",
    ...table(
      ["training memory, without activations", ...summary.memory.map((memory) => memory.precision)],
      memoryRows(summary.memory),
    ),
    "",
    `disk: ${bytes(summary.disk.bytes)} in ${summary.disk.dtype}; trained, as a delta, ${bytes(summary.disk.deltaBytes)}`,
    ...summary.notes.map((note) => `note: ${note}`),
    "",
  ].join("\n");
}

function blockCells(row: BlockRow): string[] {
  const index = row.first === row.last ? `${row.first}` : `${row.first}-${row.last}`;
  const zeroed = row.zeroed.map((name) => name.replace(/^(self_attn|mlp)\./, "").replace(/\.weight$/, ""));
  return [index, row.kind, row.from, zeroed.join(", ")];
}

function flopRows(planned: StepFlops, everything: StepFlops): string[][] {
  const row = (label: string, of: (flops: StepFlops) => number): string[] => [
    label,
    flop(of(planned)),
    flop(of(everything)),
  ];
  return [
    row("forward", (flops) => flops.forward),
    row("backward to activations", (flops) => flops.backwardActivations),
    row("weight gradients", (flops) => flops.weightGradients),
    row("total", (flops) => flops.total),
  ];
}

function memoryRows(memories: readonly TrainingMemory[]): string[][] {
  const row = (label: string, of: (memory: TrainingMemory) => number): string[] => [
    label,
    ...memories.map((memory) => bytes(of(memory))),
  ];
  return [
    row("frozen weights", (memory) => memory.frozenWeights),
    row("trainable weights", (memory) => memory.trainableWeights),
    row("f32 masters", (memory) => memory.masterWeights),
    row("Adam moments", (memory) => memory.adamMoments),
    row("gradients", (memory) => memory.gradients),
    row("total", (memory) => memory.total),
  ];
}

/** Columns padded to their widest cell, two spaces apart; no trailing spaces. */
function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const lines = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

const count = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

function flop(value: number): string {
  return scaled(value, 1000, ["", " K", " M", " G", " T"]);
}

function bytes(value: number): string {
  return scaled(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let rest = value;
  let unit = 0;
  while (rest >= base && unit < units.length - 1) {
    rest /= base;
    unit += 1;
  }
  return `${unit === 0 ? rest : rest.toFixed(1)}${units[unit]}`;
}
