import type { BlockKind } from "@slayer/surgery";
import type { Surgery } from "./data.js";
import { Html, html } from "./html.js";

const PITCH = 27;
const BOX = 23;
const LEFT = 48;
const BASE_Y = 26;
const NEW_Y = 148;
/** Wider diagrams are not shrunk but scrolled. */
const FITS_THE_PAGE = 48;

/**
 * The surgery as two rows of boxes: the base's blocks above, the new model's below, and from each source an arrow to what
 * is made of it. A base block stands above its copy, so that what was inserted shows as a gap.
 */
export function blockDiagram(surgery: Surgery, title: string): Html {
  const columns = baseColumns(surgery);
  const last = Math.max(surgery.blocks.length - 1, ...columns);
  const width = LEFT + (last + 1) * PITCH + 8;
  const kept = new Set(
    surgery.blocks.filter(({ kind }) => kind === "original").map(({ sources }) => sources[0]?.block),
  );
  const x = (column: number): number => LEFT + column * PITCH;
  const parts: string[] = [];
  for (const { index, kind, sources } of surgery.blocks) {
    for (const { block } of sources) parts.push(arrow(x(columns[block] ?? 0), x(index), kind));
  }
  for (const [block, column] of columns.entries()) {
    const removed = !kept.has(block);
    parts.push(box(x(column), BASE_Y, block, removed ? "removed" : "base"));
    if (removed)
      parts.push(
        `<path class="strike" d="M${x(column) + 3} ${BASE_Y + BOX - 3}L${x(column) + BOX - 3} ${BASE_Y + 3}"/>`,
      );
  }
  for (const { index, kind } of surgery.blocks) parts.push(box(x(index), NEW_Y, index, kind));
  parts.push(label("base", BASE_Y), label("new", NEW_Y));
  const name = html`${title}`.text;
  const svg =
    `<svg class="blocks" role="img" aria-label="${name}" viewBox="0 0 ${width} 182" ` +
    `style="width:100%;max-width:${width}px;min-width:${last < FITS_THE_PAGE ? 0 : width}px"><title>${name}</title>${parts.join("")}</svg>`;
  return html`<figure>
    <div class="scroll">${new Html(svg)}</div>
    <figcaption class="legend">
      <span class="key original"></span> original <span class="key inserted"></span> inserted (round)
      <span class="key updated"></span> updated (double border) <span class="key removed"></span> removed (struck out)
    </figcaption>
  </figure>`;
}

/** Column of each base block: above its copy, or else right of the block before it. */
function baseColumns({ baseBlocks, blocks }: Surgery): number[] {
  const copies = new Map(blocks.filter(({ kind }) => kind === "original").map((b) => [b.sources[0]?.block, b.index]));
  const columns: number[] = [];
  for (let block = 0; block < baseBlocks; block++) {
    columns.push(Math.max((columns.at(-1) ?? -1) + 1, copies.get(block) ?? 0));
  }
  return columns;
}

function box(x: number, y: number, block: number, kind: BlockKind | "base" | "removed"): string {
  const radius = kind === "inserted" ? BOX / 2 : 3;
  const size = block > 99 ? 9 : 11;
  const inner =
    kind === "updated" ? `<rect class="inner" x="${x + 3}" y="${y + 3}" width="${BOX - 6}" height="${BOX - 6}"/>` : "";
  return (
    `<rect class="${kind}" x="${x}" y="${y}" width="${BOX}" height="${BOX}" rx="${radius}"/>${inner}` +
    `<text class="${kind}" x="${x + BOX / 2}" y="${y + BOX / 2 + 4}" font-size="${size}">${block}</text>`
  );
}

/** From the lower edge of a base block to the upper edge of a new one, with a small head unless it is a plain copy. */
function arrow(fromX: number, toX: number, kind: BlockKind): string {
  const [x0, y0, x1, y1] = [fromX + BOX / 2, BASE_Y + BOX + 1, toX + BOX / 2, NEW_Y - 2];
  const middle = (y0 + y1) / 2;
  const path = `<path class="arrow ${kind}" d="M${x0} ${y0}C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}"/>`;
  if (kind === "original") return path;
  return `${path}<path class="head ${kind}" d="M${x1 - 3.5} ${y1 - 6}L${x1} ${y1}L${x1 + 3.5} ${y1 - 6}Z"/>`;
}

function label(text: string, y: number): string {
  return `<text class="row" x="0" y="${y + BOX / 2 + 4}" font-size="13">${text}</text>`;
}
