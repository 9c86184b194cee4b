import { drawChart } from "./chart.js";
import type { ReportData } from "./data.js";
import { escapeHtml } from "./html.js";
import { importanceSections } from "./importance-charts.js";
import { rankSection } from "./rank-chart.js";
import { withColors } from "./style.js";

const WIDTH = 1000;
const MARGIN = 16;
/** Characters of the captions that fit into a line. */
const LINE = 150;
const LINE_HEIGHT = 17;

/**
 * Importance scores and AdaLoRA's ranks as one SVG picture that needs no page around it: a panel for each chart, from the top.
 * Curves over the blocks come first, so that distances, removals and insertions are (a), (b) and (c) as in the paper's Figure 2.
 */
export function blockFigure({ scores = [], ranks = [] }: Pick<ReportData, "scores" | "ranks">): string {
  const sections = [...importanceSections(scores), ...ranks.map((one) => rankSection(one.name, one.ranks))];
  const all = sections.flatMap(({ facts, figures }) =>
    figures.map((figure, i) => ({ ...figure, facts: i === 0 ? facts : [], later: Number(i > 0) })),
  );
  const panels: string[] = [];
  let y = MARGIN;
  for (const [i, { name, facts, caption, chart }] of all.toSorted((a, b) => a.later - b.later).entries()) {
    panels.push(
      text(
        y + 17,
        all.length > 1 ? `(${letterOf(i)}) ${name}` : name,
        'font-size="16" font-weight="600" fill="var(--ink)"',
      ),
    );
    y += 28;
    for (const line of [...facts, caption].flatMap((words) => lines(words))) {
      panels.push(text(y + 11, line, 'font-size="12.5" fill="var(--muted)"'));
      y += LINE_HEIGHT;
    }
    const { width, height } = chart.size;
    y += 8;
    panels.push(`<svg x="${MARGIN}" y="${y}" width="${width}" height="${height}">${drawChart(chart)}</svg>`);
    y += height + 22;
  }
  const label = escapeHtml(all.map(({ title }) => title).join(". "));
  const body = withColors(panels.join("\n"));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" role="img" ` +
    `aria-label="${label}" font-family="system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif">\n` +
    `<title>${label}</title>\n<rect width="${WIDTH}" height="${y}" fill="#fff"/>\n${body}\n</svg>\n`
  );
}

/** a … z, then 27, 28, … */
const letterOf = (i: number): string => "abcdefghijklmnopqrstuvwxyz"[i] ?? String(i + 1);

function text(y: number, words: string, attributes: string): string {
  return `<text x="${MARGIN}" y="${y}" ${attributes}>${escapeHtml(words)}</text>`;
}

/** Words broken into lines. */
function lines(words: string): string[] {
  const all: string[] = [];
  for (const word of words.split(" ")) {
    const last = all.at(-1);
    if (last !== undefined && last.length + word.length < LINE) all[all.length - 1] = `${last} ${word}`;
    else all.push(word);
  }
  return all;
}
