import type { BlockScore } from "@slayer/importance";
import { axis, type Chart, label, legend, seriesColor, seriesDash } from "./chart.js";

/** One value per block, with or without confidence intervals. */
export interface BlockSeries {
  readonly name: string;
  readonly blocks: readonly BlockScore[];
}

/** Values are written beside the points of no more blocks than this. */
const MOST_LABELLED = 16;
const SIZE = { width: 980, height: 300 };

export const hasBand = ({ blocks }: BlockSeries): boolean =>
  blocks.every(({ low, high }) => low !== null && high !== null);

/** Lines over the blocks, each with its confidence band; a legend where there are several. `min` fixes the axis's start. */
export function blockSeriesChart(all: readonly BlockSeries[], unit: string, min?: number): Chart {
  const depth = all.reduce((most, { blocks }) => Math.max(most, blocks.length), 0);
  const rows =
    all.length < 2 ? 0 : Math.ceil(all.reduce((sum, { name }) => sum + 72 + 7 * name.length, 0) / SIZE.width);
  const option = {
    grid: { left: 70, right: 16, top: 16 + 22 * rows, bottom: 46 },
    ...(rows > 0 ? { legend: legend(all.map(({ name }) => label(name))) } : {}),
    xAxis: axis("category", "block", {
      data: Array.from({ length: depth }, (_, block) => String(block)),
      nameGap: 28,
      boundaryGap: true,
      axisLine: { onZero: false, lineStyle: { color: "var(--line)" } },
    }),
    yAxis: axis("value", unit, { nameGap: 54, ...(min === undefined ? {} : { min }) }),
    series: all.flatMap(lineWithBand),
  };
  return { option, size: SIZE };
}

function lineWithBand(series: BlockSeries, i: number): object[] {
  const { name, blocks } = series;
  const zero = { silent: true, symbol: "none", label: { show: false }, data: [{ yAxis: 0 }] };
  const line = {
    type: "line",
    name: label(name),
    data: blocks.map(({ value }) => value),
    symbol: "circle",
    symbolSize: 6,
    lineStyle: { color: seriesColor(i), width: 2, type: seriesDash(i) },
    itemStyle: { color: seriesColor(i) },
    label: {
      show: blocks.length <= MOST_LABELLED,
      position: "top",
      color: "var(--ink)",
      fontSize: 11,
      // A halo, where a steep line passes behind.
      textBorderColor: "var(--paper)",
      textBorderWidth: 3,
      formatter: ({ value }: { value: number }) => shown(value),
    },
    labelLayout: { hideOverlap: true },
    ...(i === 0 ? { markLine: { ...zero, lineStyle: { color: "var(--line)", type: "solid", width: 1 } } } : {}),
  };
  if (!hasBand(series)) return [line];
  // The band is drawn as what lies between two stacked lines; "all" stacks across zero too.
  const band = {
    type: "line",
    stack: `band ${i}`,
    stackStrategy: "all",
    symbol: "none",
    silent: true,
    lineStyle: { width: 0 },
  };
  const heights = blocks.map(({ low, high }) => Number(high) - Number(low));
  return [
    { ...band, data: blocks.map(({ low }) => low) },
    { ...band, data: heights, areaStyle: { color: seriesColor(i), opacity: 0.22 } },
    line,
  ];
}

/** Three digits that count; two for what is next to nothing. */
function shown(value: number): string {
  const text = Math.abs(value) < 1e-4 ? value.toExponential(1) : value.toPrecision(3);
  return text.replaceAll("-", "−");
}
