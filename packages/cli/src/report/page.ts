import { duration } from "../progress.js";
import { blockDiagram } from "./block-diagram.js";
import { renderChart } from "./chart.js";
import { comparisonChart, signed } from "./comparison-chart.js";
import type { ComparedRun } from "./comparison.js";
import type { ReportData } from "./data.js";
import { Html, html } from "./html.js";
import { type ChartSection, importanceSections } from "./importance-charts.js";
import { rankSection } from "./rank-chart.js";
import { style } from "./style.js";
import { type NamedRun, trainingCharts } from "./training-charts.js";

/**
 * One HTML page that needs nothing else: no script, no font, no picture from elsewhere. All text from the data is
 * escaped, and a content security policy forbids everything but the inline style.
 */
export function reportPage(data: ReportData): string {
  const {
    title,
    reloadAfterSeconds,
    comparisons = [],
    scores = [],
    surgeries = [],
    runs = [],
    ranks = [],
    compare = false,
  } = data;
  const trained = runs.filter(({ steps, evals }) => steps.length + evals.length > 0);
  const sections = [
    ...comparisons.map(comparisonSection),
    ...importanceSections(scores).map((section) => chartSection(section)),
    ...surgeries.map(surgerySection),
    ...(trained.length > 0 ? [trainingSection(trained, compare)] : []),
    ...ranks.map(({ name, ranks: kept, picture }) => chartSection(rankSection(name, kept), picture)),
  ];
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        />
        ${reloadAfterSeconds ? html`<meta http-equiv="refresh" content="${String(reloadAfterSeconds)}" />` : html``}
        <title>${title}</title>
        <style>
          ${new Html(style)}
        </style>
      </head>
      <body>
        <h1>${title}</h1>
        ${sections}
      </body>
    </html> `.text;
}

function chartSection({ heading, facts, figures }: ChartSection, picture = ""): Html {
  return html`<section>
    <h2>${heading}</h2>
    ${facts.map((fact) => html`<p class="muted">${fact}</p>`)}
    ${figures.map(
      ({ chart, title, caption }) =>
        html`<figure>
          ${renderChart(chart, title)}
          <figcaption>${caption}</figcaption>
        </figure>`,
    )}
    ${picture === "" ? html`` : html`<p class="muted">The same as a picture: <a href="${picture}">${picture}</a></p>`}
  </section>`;
}

const whole = (value: number): string => value.toLocaleString("en");
const fixed = (value: number): string => value.toFixed(3);

function comparisonSection(comparison: NonNullable<ReportData["comparisons"]>[number]): Html {
  const { name, date, machine, command, base, runs, notes = [] } = comparison;
  const facts: [string, string][] = [
    ["date", date],
    ["machine", machine],
    ["command", command],
    ...Object.entries(base).map(([key, value]): [string, string] => [
      `base: ${key.replaceAll("_", " ")}`,
      plain(value),
    ]),
  ];
  return html`<section>
    <h2>Gained and forgotten: ${name}</h2>
    <div class="scroll">
      <table>
        <caption>
          Held-out loss in nats per token, before and after post-training; lower is better
        </caption>
        <thead>
          <tr>
            <th scope="col">run</th>
            <th scope="col">recipe</th>
            <th scope="col" class="number">parameters</th>
            <th scope="col" class="number">trainable</th>
            <th scope="col" class="number">time</th>
            <th scope="col" class="number">domain</th>
            <th scope="col" class="number">change</th>
            <th scope="col" class="number">general</th>
            <th scope="col" class="number">change</th>
          </tr>
        </thead>
        <tbody>
          ${runs.map(comparisonRow)}
        </tbody>
      </table>
    </div>
    ${runs.length > 0 ? comparisonChart(comparison) : html``}
    <dl>
      ${facts.map(
        ([key, value]) =>
          html`<dt>${key}</dt>
            <dd>${value}</dd>`,
      )}
    </dl>
    ${(typeof notes === "string" ? [notes] : notes).map((note) => html`<p class="muted">${note}</p>`)}
  </section>`;
}

function comparisonRow(run: ComparedRun): Html {
  const share = run.total_parameters > 0 ? (100 * run.trainable_parameters) / run.total_parameters : 0;
  const pair = (before: number, after: number): Html =>
    html`<td class="number">${fixed(before)} → ${fixed(after)}</td>
      <td class="number">${signed(after - before)}</td>`;
  return html`<tr>
    <th scope="row">${run.name}</th>
    <td>${run.recipe}</td>
    <td class="number">${whole(run.total_parameters)}</td>
    <td class="number">${whole(run.trainable_parameters)} (${share.toFixed(0)} %)</td>
    <td class="number">${duration(run.seconds)}</td>
    ${pair(run.domain_before, run.domain_after)}${pair(run.general_before, run.general_after)}
  </tr>`;
}

function plain(value: unknown): string {
  if (typeof value === "number") return whole(value);
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function surgerySection(surgery: NonNullable<ReportData["surgeries"]>[number]): Html {
  const { name, recipe, baseBlocks, blocks, preservesFunction, notes } = surgery;
  const { name: recipeName = "custom", ...options } = recipe;
  const given = Object.entries(options).map(([key, value]) => `${key} ${plain(value)}`);
  const count = (kind: string): number => blocks.filter((block) => block.kind === kind).length;
  const title =
    `${baseBlocks} blocks become ${blocks.length}: ${count("original")} original, ${count("inserted")} inserted, ` +
    `${count("updated")} updated, ${baseBlocks - count("original")} removed or replaced`;
  return html`<section>
    <h2>Surgery: ${name}</h2>
    <p>
      ${plain(recipeName)}: ${title}; ${preservesFunction ? "the function stays the same" : "the function changes"}.
    </p>
    ${given.length > 0 ? html`<p class="muted">${given.join(" · ")}</p>` : html``} ${blockDiagram(surgery, title)}
    ${notes.map((note) => html`<p class="muted">${note}</p>`)}
  </section>`;
}

function trainingSection(runs: readonly NamedRun[], compare: boolean): Html {
  const rows = runs.map(({ name, steps }) => {
    const last = steps.at(-1);
    const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
    return html`<tr>
      <th scope="row">${name}</th>
      <td class="number">${last ? whole(last.step) : "–"}</td>
      <td class="number">${last ? whole(last.tokens) : "–"}</td>
      <td class="number">${last ? fixed(last.loss) : "–"}</td>
      <td class="number">${last ? duration(seconds) : "–"}</td>
    </tr>`;
  });
  return html`<section>
    <h2>Training</h2>
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">run</th>
            <th scope="col" class="number">steps</th>
            <th scope="col" class="number">tokens</th>
            <th scope="col" class="number">last loss</th>
            <th scope="col" class="number">time</th>
          </tr>
        </thead>
        <tbody>
          ${rows}
        </tbody>
      </table>
    </div>
    ${trainingCharts(runs, compare)}
  </section>`;
}
