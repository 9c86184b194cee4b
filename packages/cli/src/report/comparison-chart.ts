import { axis, label, legend, renderChart } from "./chart.js";
import type { Comparison } from "./comparison.js";
import { type Html, html } from "./html.js";

/** How the held-out losses changed: domain down is gained, general up is forgotten. */
export function comparisonChart({ runs }: Comparison): Html {
  const bar = (name: string, color: string, values: number[]) => ({
    type: "bar",
    name,
    data: values.map((value) => ({ value, label: { position: value < 0 ? "left" : "right" } })),
    barMaxWidth: 18,
    itemStyle: { color },
    label: {
      show: true,
      color: "var(--ink)",
      formatter: ({ value }: { value: number }) => signed(value),
    },
  });
  const option = {
    grid: { left: 150, right: 60, top: 34, bottom: 40 },
    legend: legend(["domain", "general"]),
    xAxis: axis("value", "change of held-out loss, nats per token", {
      nameGap: 26,
      boundaryGap: ["12%", "12%"],
      axisLabel: { color: "var(--muted)", fontSize: 11, formatter: (value: number) => minus(value) },
    }),
    yAxis: axis("category", "", {
      data: runs.map(({ name }) => label(name)),
      inverse: true,
      axisLabel: { color: "var(--ink)", width: 140, overflow: "truncate" },
    }),
    series: [
      bar(
        "domain",
        "var(--series-0)",
        runs.map((run) => run.domain_after - run.domain_before),
      ),
      bar(
        "general",
        "var(--series-1)",
        runs.map((run) => run.general_after - run.general_before),
      ),
    ],
  };
  const title = runs
    .map(
      (run) =>
        `${run.name}: domain ${signed(run.domain_after - run.domain_before)}, general ${signed(run.general_after - run.general_before)}`,
    )
    .join("; ");
  return html`<figure>
    ${renderChart({ option, size: { width: 980, height: 90 + 56 * runs.length } }, `Change of held-out loss. ${title}`)}
    <figcaption>Left of zero is learned, right of zero is forgotten.</figcaption>
  </figure>`;
}

const minus = (value: number) => String(value).replace("-", "−");

export function signed(value: number): string {
  return `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(3)}`;
}
