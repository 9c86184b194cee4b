import { BarChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkLineComponent, VisualMapComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { LabelLayout } from "echarts/features";
import { SVGRenderer } from "echarts/renderers";
import { escapeHtml, Html } from "./html.js";

use([
  BarChart,
  HeatmapChart,
  LineChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  MarkLineComponent,
  VisualMapComponent,
  LabelLayout,
  SVGRenderer,
]);

export interface ChartSize {
  readonly width: number;
  readonly height: number;
}

/** Colours of series that stay apart for colour-blind readers (Okabe and Ito 2008); the style sheet has their values. */
export const seriesColor = (i: number): string => `var(--series-${i % SERIES_COLORS})`;
const SERIES_COLORS = 6;

/** Lines are told apart by their dashes too, once the colours repeat or are not seen. */
const dashes = ["solid", [6, 3], [2, 2], [8, 3, 2, 3]] as const;
export const seriesDash = (i: number) => dashes[i % dashes.length] as (typeof dashes)[number];

/** An axis in the page's own colours, which differ between light and dark. */
export function axis(type: "value" | "category" | "log", name: string, more: Record<string, unknown> = {}) {
  return {
    type,
    name,
    nameLocation: "middle",
    nameTextStyle: { color: "var(--muted)", fontSize: 12 },
    axisLabel: { color: "var(--muted)", fontSize: 11, hideOverlap: true },
    axisLine: { lineStyle: { color: "var(--line)" } },
    axisTick: { lineStyle: { color: "var(--line)" } },
    splitLine: { show: type !== "category", lineStyle: { color: "var(--grid)" } },
    ...more,
  };
}

export function legend(names: readonly string[], more: Record<string, unknown> = {}) {
  return {
    data: [...names],
    top: 0,
    left: 0,
    type: "plain",
    textStyle: { color: "var(--ink)", fontSize: 12 },
    itemWidth: 28,
    itemGap: 26,
    ...more,
  };
}

const MAX_LABEL = 80;

/**
 * A name from a file as ECharts may have it. It keeps texts as keys of plain objects, so that one called `__proto__` would
 * change every object of the process: the blank at the end, which is not seen, makes it a key like any other. Breaks would
 * cut it off again.
 */
export function label(name: string): string {
  const line = name.replaceAll(/[\p{Cc}\s]+/gu, " ").trim();
  return `${line.length > MAX_LABEL ? `${line.slice(0, MAX_LABEL)}…` : line} `;
}

/** What is drawn, and how large. */
export interface Chart {
  readonly option: EChartsCoreOption;
  readonly size: ChartSize;
}

/** Draws a chart as inline SVG that scales with the page; `title` is what screen readers say. */
export function renderChart(chart: Chart, title: string): Html {
  const name = escapeHtml(title);
  const { width, height } = chart.size;
  return new Html(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${name}" ` +
      `style="width:100%;max-width:${width}px"><title>${name}</title>${drawChart(chart)}</svg>`,
  );
}

/** What stands inside the SVG element of a chart. Hover styles go: the picture is still. */
export function drawChart({ option, size: { width, height } }: Chart): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    chart.setOption({ animation: false, textStyle: { fontFamily: "inherit" }, ...option });
    const svg = chart.renderToSVGString();
    return svg
      .slice(svg.indexOf(">") + 1, svg.lastIndexOf("</svg>"))
      .replaceAll(/<style[^>]*>[^]*?<\/style>/g, "")
      .replaceAll(/ (?:class|pointer-events|ecmeta_\w+)="[^"]*"/g, "");
  } finally {
    chart.dispose(); // its timers would keep the process alive
  }
}
