import { BarChart, LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, TooltipComponent } from "echarts/components";
import { type ECharts, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

use([BarChart, LineChart, AriaComponent, GridComponent, TooltipComponent, SVGRenderer]);

const axis = (name: string, gap: number) => ({
  name,
  nameLocation: "middle",
  nameGap: gap,
  nameTextStyle: { color: "var(--muted)", fontSize: 12 },
  axisLabel: { color: "var(--muted)", fontSize: 11, hideOverlap: true },
  axisLine: { lineStyle: { color: "var(--line)" } },
  axisTick: { lineStyle: { color: "var(--line)" } },
  splitLine: { lineStyle: { color: "var(--grid)" } },
});

/** One row of numbers over a counting axis: a chart, and below it the numbers themselves, for readers and machines. */
export class Chart {
  readonly #chart: ECharts;
  readonly #numbers: HTMLElement;
  readonly #kind: "bar" | "line";
  readonly #labels: { x: string; y: string; from: number };

  /** `labels.from`: what the first value is counted as. */
  constructor(figure: HTMLElement, kind: "bar" | "line", labels: { x: string; y: string; from: number }) {
    const picture = figure.appendChild(document.createElement("div"));
    picture.className = "chart";
    const details = figure.appendChild(document.createElement("details"));
    details.appendChild(document.createElement("summary")).textContent = "Numbers";
    this.#numbers = details.appendChild(document.createElement("ol"));
    this.#numbers.setAttribute("start", String(labels.from));
    this.#kind = kind;
    this.#labels = labels;
    this.#chart = init(picture, undefined, { renderer: "svg" });
    new ResizeObserver(() => this.#chart.resize()).observe(picture);
    this.show([]);
  }

  show(values: readonly number[]): void {
    const { x, y, from } = this.#labels;
    const line = this.#kind === "line";
    this.#chart.setOption({
      animation: false,
      aria: { enabled: true },
      grid: { left: 58, right: 12, top: 12, bottom: 42 },
      tooltip: { trigger: "axis", valueFormatter: (value: number) => value.toFixed(4) },
      xAxis: { type: "category", data: values.map((_, i) => String(i + from)), ...axis(x, 28), boundaryGap: !line },
      yAxis: { type: "value", scale: line, ...axis(y, 42) },
      series: [
        {
          type: this.#kind,
          data: [...values],
          color: "var(--series)",
          barMaxWidth: 36,
          showSymbol: values.length === 1,
          lineStyle: { width: 2 },
        },
      ],
    });
    this.#numbers.replaceChildren(
      ...values.map((value) => {
        const item = document.createElement("li");
        item.textContent = value.toPrecision(7);
        return item;
      }),
    );
  }
}
