import type { AngularScores } from "@slayer/importance";
import { axis, type Chart } from "./chart.js";

/** Viridis (van der Walt and Smith 2015), in ten steps: even for the eye, also in grey and for the colour-blind. */
export const viridis = [
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

const SIZE = { width: 700, height: 460 };

/**
 * Distances over runs of n blocks from block l on; the ring marks each row's smallest. Of very deep models every second (third,
 * …) row and column is drawn.
 */
export function runHeatMap(scores: AngularScores): Chart {
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
  return { option, size: SIZE };
}
