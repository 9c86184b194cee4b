import type { AngularScores } from "@slayer/importance";
import { axis, renderChart } from "./chart.js";
import { type Html, html } from "./html.js";

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

const unitName = ({ unit }: AngularScores): string =>
  unit === "pi" ? "angular distance / π" : "angular distance, radians";

/** Distance of each block with its confidence band, as in the paper's Figure 2a. */
export function blockChart(scores: AngularScores): Html {
  const { blocks, interval } = scores;
  const withBand = blocks.every(({ low, high }) => low !== null && high !== null);
  const band = { type: "line", stack: "band", symbol: "none", silent: true, lineStyle: { width: 0 } };
  const series = [
    ...(withBand
      ? [
          { ...band, data: blocks.map(({ low }) => low) },
          {
            ...band,
            data: blocks.map(({ low, high }) => Number(high) - Number(low)),
            areaStyle: { color: "var(--series-0)", opacity: 0.22 },
          },
        ]
      : []),
    {
      type: "line",
      data: blocks.map(({ value }) => value),
      symbol: "circle",
      symbolSize: 6,
      lineStyle: { color: "var(--series-0)", width: 2 },
      itemStyle: { color: "var(--series-0)" },
    },
  ];
  const option = {
    grid: { left: 62, right: 16, top: 16, bottom: 46 },
    xAxis: axis("category", "block", {
      data: blocks.map(({ block }) => String(block)),
      nameGap: 28,
      boundaryGap: true,
    }),
    yAxis: axis("value", unitName(scores), { nameGap: 46, min: 0 }),
    series,
  };
  const largest = blocks.reduce((a, b) => (b.value > a.value ? b : a));
  const smallest = blocks.reduce((a, b) => (b.value < a.value ? b : a));
  const title =
    `Angular distance per block: largest at block ${largest.block} (${largest.value.toFixed(3)}), ` +
    `smallest at block ${smallest.block} (${smallest.value.toFixed(3)})`;
  const percent = Math.round(100 * interval.confidence);
  return html`<figure>
    ${renderChart(option, title, { width: 980, height: 300 })}
    <figcaption>
      Distance between the states entering and leaving each block.
      ${withBand ? `The band holds ${percent} % (${interval.method}).` : "One sequence only: no intervals."}
    </figcaption>
  </figure>`;
}

/** Distances over runs of n blocks from block l on; the ring marks each row's smallest. */
export function runHeatMap(scores: AngularScores): Html {
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
