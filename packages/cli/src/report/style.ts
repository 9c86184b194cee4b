/** By daylight. Series colours after Okabe and Ito (2008), brighter on dark. */
const light = `
  --paper: #fff; --ink: #1c1e21; --muted: #5b6169; --line: #9aa0a6; --grid: #e6e8eb; --panel: #f6f7f8;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #b8860b; --series-4: #a8528a; --series-5: #3a3f44;
  --inserted: #0072b2; --updated: #d55e00; --original: #dfe3e7; --on-color: #fff;`;

const lightColors = new Map(Array.from(light.matchAll(/(--[\w-]+): (#\w+);/g), ([, name, color]) => [name!, color!]));

/** The colours themselves in place of the style sheet's names, for a picture that stands alone. */
export function withColors(svg: string): string {
  return svg.replaceAll(/var\((--[\w-]+)\)/g, (whole, name: string) => lightColors.get(name) ?? whole);
}

/** The page's style: light and dark, screen and paper. */
export const style = `
:root { color-scheme: light dark;${light} }
@media (prefers-color-scheme: dark) { :root {
  --paper: #17191c; --ink: #e8eaed; --muted: #a4abb3; --line: #6b7178; --grid: #2c3035; --panel: #1f2226;
  --series-0: #56b4e9; --series-1: #f08a4b; --series-2: #2fc79b; --series-3: #e6b422; --series-4: #dd93c0; --series-5: #c9ced3;
  --inserted: #56b4e9; --updated: #f08a4b; --original: #363b41; --on-color: #10130f; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --muted: #333; --grid: #ddd; --line: #777; --panel: #fff;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #b8860b; --series-4: #a8528a; --series-5: #3a3f44;
  --inserted: #0072b2; --updated: #d55e00; --original: #dfe3e7; --on-color: #fff; }
  body { font-size: 10pt; } figure, table { break-inside: avoid; } .scroll { overflow: visible; }
  svg.blocks { width: 100% !important; min-width: 0 !important; } * { print-color-adjust: exact; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 28px 24px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; } h2 { font-size: 20px; margin: 44px 0 8px; padding-top: 12px; border-top: 1px solid var(--grid); }
h3 { font-size: 15px; margin: 18px 0 4px; } p { margin: 6px 0; } .muted, figcaption { color: var(--muted); font-size: 13.5px; }
figure { margin: 12px 0 20px; min-width: 0; } svg { display: block; height: auto; font-family: inherit; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 0 28px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 12px 0; font-size: 14px; } caption { text-align: left; color: var(--muted); padding-bottom: 6px; }
th, td { padding: 6px 10px; text-align: left; border-bottom: 1px solid var(--grid); vertical-align: baseline; overflow-wrap: normal; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; } th[scope=row] { font-weight: 600; min-width: 9em; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { background: var(--panel); padding: 1px 5px; border-radius: 3px; font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 10px 0; font-size: 14px; } dt { color: var(--muted); } dd { margin: 0; }
svg.blocks rect { stroke: var(--line); fill: var(--original); } svg.blocks rect.inserted { fill: var(--inserted); stroke: var(--inserted); }
svg.blocks rect.updated { fill: var(--updated); stroke: var(--updated); } svg.blocks rect.inner { fill: none; stroke: var(--on-color); }
svg.blocks rect.removed { fill: none; stroke-dasharray: 3 2; } svg.blocks text { text-anchor: middle; fill: var(--ink); }
svg.blocks text.inserted, svg.blocks text.updated { fill: var(--on-color); font-weight: 600; } svg.blocks text.removed { fill: var(--muted); }
svg.blocks text.row { text-anchor: start; fill: var(--muted); } .strike { stroke: var(--ink); stroke-width: 1.2; }
.arrow { fill: none; stroke: var(--line); opacity: .55; } .arrow.inserted { stroke: var(--inserted); opacity: 1; stroke-width: 1.4; }
.arrow.updated { stroke: var(--updated); opacity: 1; stroke-width: 1.4; } .head.inserted { fill: var(--inserted); } .head.updated { fill: var(--updated); }
.key { display: inline-block; width: 14px; height: 14px; margin: 0 2px 0 12px; vertical-align: -2px; border: 1px solid var(--line); border-radius: 3px; background: var(--original); }
.key:first-child { margin-left: 0; } .key.inserted { background: var(--inserted); border-radius: 50%; } .key.updated { background: var(--updated); outline: 1px solid var(--on-color); outline-offset: -4px; }
.key.removed { border-style: dashed; background: linear-gradient(135deg, transparent 46%, var(--ink) 46% 54%, transparent 54%); }
`;
