import type { AngularScores, BlockScore, DropScores, GateScores } from "@slayer/importance";
import { type BlockSeries, blockSeriesChart, hasBand } from "./block-series.js";
import { axis, renderChart } from "./chart.js";
import { signed } from "./comparison-chart.js";
import type { ReportData } from "./data.js";
import { type Html, html } from "./html.js";

type NamedScores = NonNullable<ReportData["scores"]>[number];
type Named<S> = { readonly name: string; readonly scores: S };

/** Viridis (van der Walt and Smith 2015), in ten steps: even for the eye, also in grey and for the colour-blind. */
const viridis = [
  "#440154",
  "#482878",
  "#3e4989",
  "#31688e",
  "#26828e",
  "#1f9e89",
  "#35b779",
  "#6ece58",
  "#b5de2b",
  "#fde725",
];
/** More cells than this a side cannot be told apart on a page. */
const MAX_SIDE = 96;

/**
 * A section for each file of angular distances, and one for all files of each other metric and unit, so that removals, or
 * insertions of copies and of averages, are compared in one chart, as in the paper's Figure 2.
 */
export function importanceSections(all: readonly NamedScores[]): Html[] {
  const angular: Html[] = [];
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
  return [...angular, ...[...drops.values()].map(dropSection), ...(gates.length > 0 ? [gateSection(gates)] : [])];
}

const whole = (value: number): string => value.toLocaleString("en");

function angularSection(name: string, scores: AngularScores): Html {
  const { model, samples, token, final } = scores;
  return html`<section>
    <h2>Importance: ${name}</h2>
    <p class="muted">
      ${model.family}, ${model.blocks} blocks; angular distance at ${token === "last" ? "the last token" : "all tokens"}
      of ${whole(samples)} sequences; the last state is taken ${final === "raw" ? "before" : "after"} the final norm.
    </p>
    ${angularChart(scores)} ${runHeatMap(scores)}
  </section>`;
}

/** Distance of each block with its confidence band, as in the paper's Figure 2a. */
function angularChart(scores: AngularScores): Html {
  const { blocks, interval, unit } = scores;
  const withBand = hasBand({ name: "", blocks });
  const { largest, smallest } = extremes(blocks);
  const title =
    `Angular distance per block: largest at block ${largest.block} (${largest.value.toFixed(3)}), ` +
    `smallest at block ${smallest.block} (${smallest.value.toFixed(3)})`;
  const percent = Math.round(100 * interval.confidence);
  const axisName = unit === "pi" ? "angular distance / π" : "angular distance, radians";
  return html`<figure>
    ${blockSeriesChart([{ name: "", blocks }], axisName, title, 0)}
    <figcaption>
      Distance between the states entering and leaving each block.
      ${withBand ? `The band holds ${percent} % (${interval.method}).` : "One sequence only: no intervals."}
    </figcaption>
  </figure>`;
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
function dropSection(all: readonly Named<DropScores>[]): Html {
  const { metric, unit, interval } = all[0]!.scores;
  const removal = metric === "removal";
  const series = all.map(({ name, scores }) => ({ name: seriesName(name, scores), blocks: scores.blocks }));
  const what = removal ? "removal of the block" : "insertion of one more block after it";
  const noun = unit === "loss" ? "sequences" : "items";
  return html`<section>
    <h2>Importance: drop after ${removal ? "removal" : "insertion"}</h2>
    ${all.map(
      ({ name, scores }) =>
        html`<p class="muted">
          ${seriesName(name, scores)}: ${scores.model.family}, ${scores.model.blocks} blocks; ${baseNames[unit]} of the
          unchanged model ${scores.base.toFixed(4)} on ${whole(scores.samples)} ${noun}, ${whole(scores.tokens)} tokens
          scored${settledText(scores)}.
        </p>`,
    )}
    <figure>
      ${blockSeriesChart(series, dropNames[unit], seriesTitle(`Drop after ${metric} per block`, series))}
      <figcaption>
        How much worse the model does after ${what}; above 0 is worse. ${bandText(series, interval)}
        ${removal ? "" : "Inserted blocks are not zeroed; there is none after the last block where they are averages."}
      </figcaption>
    </figure>
  </section>`;
}

function gateSection(all: readonly Named<GateScores>[]): Html {
  const series = all.map(({ name, scores }) => ({ name, blocks: scores.blocks }));
  const { interval } = all[0]!.scores;
  return html`<section>
    <h2>Importance: gate gradient</h2>
    ${all.map(
      ({ name, scores }) =>
        html`<p class="muted">
          ${name}: ${scores.model.family}, ${scores.model.blocks} blocks; loss ${scores.base.toFixed(4)} on
          ${whole(scores.samples)} sequences, ${whole(scores.tokens)} tokens scored.
        </p>`,
    )}
    <figure>
      ${blockSeriesChart(series, "∂loss/∂α, nats per token", seriesTitle("Gate gradient per block", series))}
      <figcaption>
        Gradient of the loss with respect to a gate α on each block’s contribution, at α = 1. To first order, closing
        the gate adds its opposite to the loss: the deeper below 0, the more the block matters.
        ${bandText(series, interval)}
      </figcaption>
    </figure>
  </section>`;
}

const seriesName = (name: string, { init }: DropScores): string => (init === null ? name : `${name}, ${init}`);

function settledText({ settled }: DropScores): string {
  if (settled === null) return "";
  const what = settled.least === null ? "the ranking" : `the ${settled.least} least important`;
  return settled.decided ? `; ${what} settled at ${100 * settled.level} %` : `; ${what} not settled`;
}

function bandText(series: readonly BlockSeries[], { confidence, method }: DropScores["interval"]): string {
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

/** Distances over runs of n blocks from block l on; the ring marks each row's smallest. */
function runHeatMap(scores: AngularScores): Html {
  const { distances, runs } = scores;
  const L = distances.length - 1;
  const every = Math.ceil(L / MAX_SIDE);
  const kept = (i: number): boolean => i % every === 0;
  const cells: [string, string, number][] = [];
  for (let l = 0; l < L; l += every) {
    for (let n = 1; l + n <= L; n++) if (kept(n - 1)) cells.push([String(l), String(n), distances[l]?.[l + n] ?? 0]);
  }
  const labels = Array.from({ length: L }, (_, i) => i).filter(kept);
  const values = cells.map(([, , value]) => value);
  const marks = runs.filter(({ n, start }) => kept(n - 1) && kept(start));
  const ring = (borderColor: string, borderWidth: number) => ({
    type: "scatter",
    data: marks.map(({ n, start }) => [String(start), String(n)]),
    symbol: "circle",
    symbolSize: Math.max(4, Math.min(11, 260 / L)),
    itemStyle: { color: "transparent", borderColor, borderWidth },
    silent: true,
  });
  const option = {
    grid: { left: 62, right: 96, top: 10, bottom: 46 },
    xAxis: axis("category", "first block of the run, l", { data: labels.map(String), nameGap: 28 }),
    yAxis: axis("category", "blocks in the run, n", { data: labels.map((i) => String(i + 1)), nameGap: 34 }),
    visualMap: {
      type: "continuous",
      min: Math.min(...values),
      max: Math.max(...values),
      inRange: { color: viridis },
      calculable: false,
      right: 0,
      top: "middle",
      itemHeight: 180,
      precision: 3,
      text: [Math.max(...values).toFixed(3), Math.min(...values).toFixed(3)],
      textStyle: { color: "var(--muted)" },
      seriesIndex: 0,
    },
    series: [{ type: "heatmap", data: cells, silent: true }, ring("#000", 4), ring("#fff", 2)],
  };
  const best = runs[1] ?? runs[0];
  const title = `Angular distance over runs of blocks${best ? `; the ${best.n} blocks changing least start at ${best.start}` : ""}`;
  return html`<figure>
    ${renderChart(option, title, { width: 700, height: 460 })}
    <figcaption>
      Distance d(x<sub>l</sub>, x<sub>l+n</sub>) over runs of n blocks from block l on. Rings: per n, the run whose
      removal changes the stream least.${every > 1 ? ` Every ${every}th row and column is shown.` : ""}
    </figcaption>
  </figure>`;
}
