import { axis, type Chart, label } from "./chart.js";
import type { ChartSection } from "./importance-charts.js";
import { blockSums, type Ranks } from "./ranks.js";
import { viridis } from "./run-heat-map.js";

/** Numbers are written into the cells of no more blocks than this. */
const MOST_WRITTEN = 40;
/** More columns than this cannot be told apart on a page: then each stands for as many blocks as it takes. */
const MOST_COLUMNS = 160;
const WIDTH = 980;
const ROW = 26;
const BARS = 130;
const [LEFT, RIGHT, TOP, GAP, BOTTOM] = [86, 84, 10, 34, 46];

/**
 * Ranks over blocks and modules as in the paper's Figure 4, and below them each block's sum. Of very deep models every second
 * (third, …) block is drawn.
 */
function rankChart(ranks: Ranks): Chart {
  const { modules, start } = ranks;
  const sums = blockSums(ranks);
  const every = Math.ceil(sums.length / MOST_COLUMNS);
  const shown = sums.flatMap((_, l) => (l % every === 0 ? [l] : []));
  const written = sums.length <= MOST_WRITTEN;
  const cells = ranks.ranks.flatMap((row, m) =>
    shown.flatMap((l) => {
      const rank = row[l] ?? null;
      if (rank === null) return [];
      return [{ value: [String(l), label(modules[m]!), rank], label: { color: rank > 0.5 * start ? "#111" : "#fff" } }];
    }),
  );
  const heat = ROW * modules.length;
  const bars = TOP + heat + GAP;
  const blocks = { data: shown.map(String), axisTick: { show: false } };
  const option = {
    grid: [
      { left: LEFT, right: RIGHT, top: TOP, height: heat },
      { left: LEFT, right: RIGHT, top: bars, height: BARS },
    ],
    xAxis: [
      axis("category", "", { ...blocks, gridIndex: 0, axisLabel: { show: false } }),
      axis("category", "block", { ...blocks, gridIndex: 1, nameGap: 28 }),
    ],
    yAxis: [
      axis("category", "", { gridIndex: 0, data: modules.map(label), inverse: true, axisTick: { show: false } }),
      axis("value", "sum of ranks", { gridIndex: 1, nameGap: 44, minInterval: 1 }),
    ],
    visualMap: {
      ...{ type: "continuous", min: 0, max: start, seriesIndex: 0, dimension: 2, calculable: false },
      inRange: { color: viridis },
      ...{ right: 0, top: TOP, itemHeight: Math.max(60, heat - 44), itemWidth: 14 },
      text: [String(start), "0"],
      textStyle: { color: "var(--muted)" },
    },
    series: [
      {
        ...{ type: "heatmap", data: cells, silent: true },
        label: { show: written, fontSize: 11, formatter: ({ value }: { value: [string, string, number] }) => value[2] },
        itemStyle: { borderColor: "var(--paper)", borderWidth: written ? 1 : 0 },
      },
      {
        ...{ type: "bar", xAxisIndex: 1, yAxisIndex: 1, data: shown.map((l) => sums[l]), barCategoryGap: "16%" },
        itemStyle: { color: "var(--series-0)" },
        label: { show: written, position: "top", color: "var(--ink)", fontSize: 11 },
      },
    ],
  };
  return { option, size: { width: WIDTH, height: bars + BARS + BOTTOM } };
}

export function rankSection(name: string, ranks: Ranks): ChartSection {
  const { base, start, target, steps, modules } = ranks;
  const sums = blockSums(ranks);
  const total = sums.reduce((a, b) => a + b, 0);
  const matrices = ranks.ranks.flat().filter((rank) => rank !== null).length;
  const half = Math.floor(sums.length / 2);
  const lower = sums.slice(0, half).reduce((a, b) => a + b, 0);
  const share = half === 0 ? "" : ` ${percent(lower, total)} of them are in the lower half, blocks 0 to ${half - 1}.`;
  return {
    heading: `Ranks: ${name}`,
    facts: [
      `AdaLoRA beside ${modules.join(", ")} of ${sums.length} blocks${base === "" ? "" : ` of ${base}`}: from rank ${start} each to ` +
        `${target} on average, over ${steps.toLocaleString("en")} steps.`,
    ],
    figures: [
      {
        name: "Ranks",
        chart: rankChart(ranks),
        title: `Ranks by block and module. Sums by block: ${sums.join(", ")}`,
        caption: `The rank that each matrix keeps, and each block's sum. ${total.toLocaleString("en")} of ${(matrices * start).toLocaleString("en")} triplets are kept.${share}`,
      },
    ],
  };
}

const percent = (part: number, whole: number) => `${whole === 0 ? 0 : ((100 * part) / whole).toFixed(0)} %`;
