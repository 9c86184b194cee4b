import type { AngularScores, BlockScore, DropScores, GateScores, SampleInterval, Scores } from "@slayer/importance";
import { type BlockSeries, blockSeriesChart, hasBand } from "./block-series.js";
import type { Chart } from "./chart.js";
import { signed } from "./comparison-chart.js";
import type { ReportData } from "./data.js";
import { runHeatMap } from "./run-heat-map.js";

type NamedScores = NonNullable<ReportData["scores"]>[number];
type Named<S> = { readonly name: string; readonly scores: S };

/** Charts that belong together, and what was measured. All text. */
export interface ChartSection {
  readonly heading: string;
  readonly facts: readonly string[];
  /** Each with a name of its own, and a title that says what is to be seen. */
  readonly figures: readonly Figure[];
}

interface Figure {
  readonly name: string;
  readonly chart: Chart;
  readonly title: string;
  readonly caption: string;
}

/**
 * A section for each file of angular distances, and one for all files of each other metric and unit, so that removals, or
 * insertions of copies and of averages, are compared in one chart, as in the paper's Figure 2.
 */
export function importanceSections(all: readonly NamedScores[]): ChartSection[] {
  const angular: ChartSection[] = [];
  const drops = new Map<string, Named<DropScores>[]>();
  const gates: Named<GateScores>[] = [];
  for (const { name, scores } of all) {
    if (scores.metric === "angular") angular.push(angularSection(name, scores));
    else if (scores.metric === "gate") gates.push({ name, scores });
    else {
      const kind = `${scores.metric}, ${scores.unit}`;
      drops.set(kind, [...(drops.get(kind) ?? []), { name, scores }]);
    }
  }
  // In the order of the paper's Figure 2: a, b, c.
  const inOrder = [...drops.values()].toSorted((a, b) => Number(a[0]!.scores.metric < b[0]!.scores.metric) * 2 - 1);
  return [...angular, ...inOrder.map(dropSection), ...(gates.length > 0 ? [gateSection(gates)] : [])];
}

const whole = (value: number): string => value.toLocaleString("en");

function angularSection(name: string, scores: AngularScores): ChartSection {
  const { model, samples, token, final, blocks, interval, unit } = scores;
  const { largest, smallest } = extremes(blocks);
  const at = ({ block, value }: BlockScore) => `block ${block} (${value.toFixed(3)})`;
  const bands = hasBand({ name: "", blocks })
    ? bandText([{ name: "", blocks }], interval)
    : "One sequence only: no intervals.";
  const [best] = scores.runs.slice(Math.min(1, scores.runs.length - 1));
  return {
    heading: `Angular distance: ${name}`,
    facts: [
      `${model.family}, ${model.blocks} blocks; at ${token === "last" ? "the last token" : "all tokens"} of ` +
        `${whole(samples)} sequences; the last state is taken ${final === "raw" ? "before" : "after"} the final ` +
        `norm${settledText(scores)}.`,
    ],
    figures: [
      {
        name: "Angular distance",
        chart: blockSeriesChart(
          [{ name: "", blocks }],
          unit === "pi" ? "angular distance / π" : "angular distance, radians",
          0,
        ),
        title: `Angular distance per block: largest at ${at(largest)}, smallest at ${at(smallest)}`,
        caption: `Distance between the states entering and leaving each block. ${bands}`,
      },
      {
        name: "Angular distance over runs of blocks",
        chart: runHeatMap(scores),
        title: `Angular distance over runs of blocks; the ${best!.n} blocks changing least start at ${best!.start}`,
        caption:
          "Distance between the states entering block l and block l + n. Rings: for each n, the run of n blocks whose " +
          "removal changes the stream least.",
      },
    ],
  };
}

const dropNames: Readonly<Record<DropScores["unit"], string>> = {
  loss: "rise of the loss, nats per token",
  likelihood: "drop of log-likelihood, nats per byte",
  accuracy: "drop of accuracy",
};
const baseNames: Readonly<Record<DropScores["unit"], string>> = {
  loss: "loss",
  likelihood: "negative log-likelihood per byte of the right choice",
  accuracy: "accuracy",
};

/** How much worse the model does per block, as in the paper's Figures 2b and 2c. */
function dropSection(all: readonly Named<DropScores>[]): ChartSection {
  const { metric, unit, interval } = all[0]!.scores;
  const removal = metric === "removal";
  const series = all.map(({ name, scores }) => ({ name: seriesName(name, scores), blocks: scores.blocks }));
  const noun = unit === "loss" ? "sequences" : "items";
  const what = removal ? "removal of the block" : "insertion of one more block after it";
  const inserted = removal
    ? ""
    : " Inserted blocks are not zeroed; there is none after the last block where they are averages.";
  const heading = `Drop after ${metric}`;
  return {
    heading,
    facts: all.map(
      ({ name, scores }) =>
        `${seriesName(name, scores)}: ${scores.model.family}, ${scores.model.blocks} blocks; ${baseNames[unit]} of the ` +
        `unchanged model ${baseText(scores)} on ${whole(scores.samples)} ${noun}, ${whole(scores.tokens)} tokens ` +
        `scored${settledText(scores)}.`,
    ),
    figures: [
      {
        name: heading,
        chart: blockSeriesChart(series, dropNames[unit]),
        title: seriesTitle(`Drop after ${metric} per block`, series),
        caption: `How much worse the model does after ${what}; above 0 is worse. ${bandText(series, interval)}${inserted}`,
      },
    ],
  };
}

function gateSection(all: readonly Named<GateScores>[]): ChartSection {
  const series = all.map(({ name, scores }) => ({ name, blocks: scores.blocks }));
  const { interval } = all[0]!.scores;
  return {
    heading: "Gate gradient",
    facts: all.map(
      ({ name, scores }) =>
        `${name}: ${scores.model.family}, ${scores.model.blocks} blocks; loss ${baseText(scores)} on ` +
        `${whole(scores.samples)} sequences, ${whole(scores.tokens)} tokens scored${settledText(scores)}.`,
    ),
    figures: [
      {
        name: "Gate gradient",
        chart: blockSeriesChart(series, "∂loss/∂α, nats per token"),
        title: seriesTitle("Gate gradient per block", series),
        caption:
          "Gradient of the loss with respect to a gate α on each block’s contribution, at α = 1. Far from 0, either way, the " +
          `loss depends on the block; near 0 it still may, for training takes it there. ${bandText(series, interval)}`,
      },
    ],
  };
}

const seriesName = (name: string, { init }: DropScores): string =>
  init === null || name.includes(init) ? name : `${name}, ${init}`;

function baseText({ base, baseLow, baseHigh }: DropScores | GateScores): string {
  const interval = baseLow === null || baseHigh === null ? "" : ` (${baseLow.toFixed(4)} to ${baseHigh.toFixed(4)})`;
  return `${base.toFixed(4)}${interval}`;
}

function settledText({ settled }: Scores): string {
  if (settled === null) return "";
  const what = settled.least === null ? "the ranking" : `the ${settled.least} least important`;
  return settled.decided ? `; ${what} settled at ${100 * settled.level} %` : `; ${what} not settled`;
}

function bandText(series: readonly BlockSeries[], { confidence, method }: SampleInterval): string {
  if (!series.every(hasBand)) return "Where there was one sample only there is no interval.";
  return `Bands hold ${Math.round(100 * confidence)} % (${method}).`;
}

function seriesTitle(what: string, series: readonly BlockSeries[]): string {
  const each = series.map(({ name, blocks }) => {
    const { largest, smallest } = extremes(blocks);
    const end = (which: string, { block, value }: BlockScore) => `${which} at block ${block} (${signed(value)})`;
    return `${name}: ${end("largest", largest)}, ${end("smallest", smallest)}`;
  });
  return `${what}. ${each.join("; ")}`;
}

function extremes(blocks: readonly BlockScore[]): { largest: BlockScore; smallest: BlockScore } {
  return {
    largest: blocks.reduce((a, b) => (b.value > a.value ? b : a)),
    smallest: blocks.reduce((a, b) => (b.value < a.value ? b : a)),
  };
}
