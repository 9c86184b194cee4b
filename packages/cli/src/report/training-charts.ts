import { axis, type ChartSize, label, legend, renderChart, seriesColor, seriesDash } from "./chart.js";
import { type Html, html } from "./html.js";
import type { RunMetrics } from "./metrics.js";

export type NamedRun = RunMetrics & { readonly name: string };

interface Curve {
  readonly name: string;
  /** Which run it belongs to; runs keep their colour in all charts. */
  readonly run: number;
  readonly points: readonly (readonly [step: number, value: number])[];
  readonly markers: boolean;
}

/** A chart each. */
const MAX_TEXTS = 12;
const WIDE: ChartSize = { width: 980, height: 340 };
const HALF: ChartSize = { width: 480, height: 260 };

/**
 * Training loss of all runs in one chart, then learning rate, gradient norm, and held-out losses, one chart per text;
 * and what AdaLoRA adds. With `compare` also how far the losses are from the first run's.
 */
export function trainingCharts(runs: readonly NamedRun[], compare = false): Html[] {
  const of = (value: (step: RunMetrics["steps"][number]) => number | undefined): Curve[] =>
    runs.map(({ name, steps }, run) => {
      const points = steps.map((s) => [s.step, value(s)] as const);
      return {
        name,
        run,
        points: points.filter((p): p is Curve["points"][number] => p[1] !== undefined),
        markers: false,
      };
    });
  const texts = [...new Set(runs.flatMap(({ evals }) => evals.flatMap((line) => Object.keys(line.eval))))];
  const left = texts.splice(MAX_TEXTS);
  const heldOut = texts.map((text) =>
    lineChart(
      `Held-out loss, ${text}`,
      "nats per token",
      runs.map((run, i) => heldOutCurve(run, i, text)),
      HALF,
    ),
  );
  return [
    lineChart(
      "Training loss",
      "nats per token",
      of(({ loss }) => loss),
      WIDE,
    ),
    ...(compare ? differences(runs) : []),
    html`<div class="columns">${heldOut}</div>`,
    left.length > 0 ? html`<p class="muted">${left.length} more held-out texts are not shown.</p>` : html``,
    html`<div class="columns">
      ${lineChart(
        "Learning rate",
        "lr",
        of(({ lr }) => lr),
        HALF,
      )}
      ${lineChart(
        "Gradient norm, before clipping",
        "norm",
        of((step) => step.grad_norm),
        HALF,
      )}
      ${lineChart(
        "Ranks that AdaLoRA keeps",
        "sum",
        of(({ ranks }) => ranks),
        HALF,
      )}
      ${lineChart(
        "Penalty of AdaLoRA's vectors",
        "added to the loss",
        of(({ penalty }) => penalty),
        HALF,
      )}
    </div>`,
  ];
}

/** Loss of each run less the first one's, on the steps that both have. */
function differences([first, ...others]: readonly NamedRun[]): Html[] {
  if (first === undefined) return [];
  const losses = new Map(first.steps.map(({ step, loss }) => [step, loss]));
  const curves = others.map(({ name, steps }, i): Curve => {
    const points = steps.flatMap(({ step, loss }) => {
      const other = losses.get(step);
      return other === undefined ? [] : [[step, loss - other] as const];
    });
    return { name, run: i + 1, points, markers: false };
  });
  return [
    lineChart(`Training loss less that of ${first.name}`, "nats per token", curves, WIDE),
    ...curves.map(
      ({ name, points }) =>
        html`<p class="muted">${differenceInWords(name, first.name, first.steps.length, points)}</p>`,
    ),
  ];
}

function differenceInWords(name: string, first: string, steps: number, points: Curve["points"]): string {
  if (points.length === 0) return `${name} has no step in common with ${first}.`;
  const [step, largest] = points.reduce((worst, point) => (Math.abs(point[1]) > Math.abs(worst[1]) ? point : worst));
  const mean = points.reduce((sum, [, difference]) => sum + Math.abs(difference), 0) / points.length;
  return (
    `${name} and ${first}: ${points.length} of ${steps} steps in common; losses differ by ${mean.toPrecision(2)} nats on average, ` +
    `by ${Math.abs(largest).toPrecision(2)} at most (step ${step}).`
  );
}

function heldOutCurve({ name, evals }: NamedRun, run: number, text: string): Curve {
  const points = evals.flatMap(({ step, eval: losses }) => {
    const loss = Object.hasOwn(losses, text) ? losses[text] : undefined;
    return loss === undefined ? [] : [[step, loss] as const];
  });
  return { name, run, points, markers: true };
}

function lineChart(title: string, unit: string, curves: readonly Curve[], size: ChartSize): Html {
  const shown = curves.filter(({ points }) => points.length > 0);
  if (shown.length === 0) return html``;
  const lengths = shown.map(({ points }) => points.length);
  const series = shown.map(({ name, run, points, markers }) => ({
    type: "line",
    name: label(name),
    data: points.map((point) => [...point]),
    symbol: markers ? "circle" : "none",
    symbolSize: 5,
    // Beyond a few points per pixel only the shape is seen.
    ...(Math.max(...lengths) > 2 * size.width ? { sampling: "lttb" } : {}),
    lineStyle: { color: seriesColor(run), width: 1.8, type: seriesDash(run) },
    itemStyle: { color: seriesColor(run) },
  }));
  const rows = Math.ceil(shown.reduce((sum, { name }) => sum + 72 + 7 * label(name).length, 0) / size.width);
  const option = {
    grid: { left: 62, right: 16, top: 16 + 22 * rows, bottom: 46 },
    legend: legend(shown.map(({ name }) => label(name))),
    xAxis: axis("value", "step", { nameGap: 26, splitLine: { show: false }, max: "dataMax", minInterval: 1 }),
    yAxis: axis("value", unit, { nameGap: 46, scale: true }),
    series,
  };
  const ends = shown.map(({ name, points }) => `${name} ends at ${points.at(-1)?.[1].toPrecision(4)}`);
  return html`<figure>
    <h3>${title}</h3>
    ${renderChart({ option, size }, `${title} by step: ${ends.join(", ")}`)}
  </figure>`;
}
