/** The measurements as Markdown tables. */

/** @typedef {{ layout: string, m: number, n: number, k: number, threads: number, name: string, seconds: number[][] }} Measurement */
/** @typedef {{ threads: number, isa: string, peak: number[] }} Peak */

/** @param {number[]} values @param {number} q */
function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? NaN;
  return low + ((sorted[Math.ceil(at)] ?? NaN) - low) * (at % 1);
}

/** @param {number[]} values */
const median = (values) => quantile(values, 0.5);

/** @param {Measurement} x */
const flops = (x) => 2 * x.m * x.n * x.k;

/** GFLOP/s: of the median and of the quickest tenth of the repetitions. @param {Measurement} x */
function rates(x) {
  const all = x.seconds.flat();
  return { median: flops(x) / median(all) / 1e9, best: flops(x) / quantile(all, 0.1) / 1e9 };
}

/** @param {string[][]} rows */
const markdown = (rows) => rows.map((row) => `| ${row.join(" | ")} |`).join("\n");

/** GFLOP/s, the quickest tenth as everywhere: a single sample may be a slip of the clock. @param {Peak} peak */
export const peakRate = ({ peak }) => quantile(peak, 0.9) / 1e9;

/**
 * Rates are "median (best)" in GFLOP/s. A ratio compares medians of the same round; its spread is the quartiles over rounds.
 *
 * @param {Measurement[]} all
 * @param {Peak[]} peaks
 * @param {string} ours
 */
export function mainTable(all, peaks, ours) {
  const parts = [];
  for (const threads of new Set(all.map((x) => x.threads))) {
    const here = all.filter((x) => x.threads === threads);
    const peers = [...new Set(here.map((x) => x.name))].filter(
      (name) => name.startsWith("OpenBLAS") || name === "PyTorch",
    );
    const found = peaks.find((p) => p.threads === threads && p.isa === ours);
    const peak = found ? peakRate(found) : NaN;
    const rows = [
      ["product", "m×n×k", "ours", "of peak", ...peers, "ours ÷ best peer", "quartiles", "by best times"],
      ["---", "---", "--:", "--:", ...peers.map(() => "--:"), "--:", "--:", "--:"],
    ];
    for (const mine of here.filter((x) => x.name === ours)) {
      const others = here.filter((x) => peers.includes(x.name) && shape(x) === shape(mine));
      const ratios = mine.seconds.map(
        (round, i) => Math.min(...others.map((o) => median(o.seconds[i] ?? []))) / median(round),
      );
      const rate = rates(mine);
      const bestRatio = rate.best / Math.max(...others.map((o) => rates(o).best));
      rows.push([
        mine.layout,
        `${mine.m}×${mine.n}×${mine.k}`,
        show(rate),
        `${((100 * rate.best) / peak).toFixed(0)} %`,
        ...others.map((o) => show(rates(o))),
        `**${median(ratios).toFixed(2)}**`,
        `${quantile(ratios, 0.25).toFixed(2)} – ${quantile(ratios, 0.75).toFixed(2)}`,
        bestRatio.toFixed(2),
      ]);
    }
    parts.push(
      `## ${threads} thread${threads > 1 ? "s" : ""}: FMA peak ${peak.toFixed(0)} GFLOP/s (${ours})\n\n${markdown(rows)}\n`,
    );
  }
  const legend =
    "GFLOP/s as median (quickest tenth); `of peak` is the quickest tenth against the measured FMA peak. `ours ÷ best peer` compares medians of the same round with the best peer of that round, `by best times` the quickest tenths.";
  return `${legend}\n\n${parts.join("\n")}`;
}

/** Every instruction set at 1024³ against its own peak. @param {Measurement[]} all @param {Peak[]} peaks */
export function isaTable(all, peaks) {
  const rows = [
    ["set", "threads", "FMA peak", "NT", "NN", "TN"],
    ["---", "--:", "--:", "--:", "--:", "--:"],
  ];
  for (const measured of peaks) {
    const { threads, isa } = measured;
    if (measured.peak.length === 0) continue;
    const top = peakRate(measured);
    const cells = ["NT", "NN", "TN"].map((layout) => {
      const found = all.find((x) => x.name === isa && x.threads === threads && shape(x) === `${layout} 1024 1024 1024`);
      return found ? `${show(rates(found))}, ${((100 * rates(found).best) / top).toFixed(0)} %` : "";
    });
    rows.push([isa, `${threads}`, top.toFixed(0), ...cells]);
  }
  return `## Instruction sets at 1024³\n\n${markdown(rows)}`;
}

/** @param {Measurement} x */
const shape = (x) => `${x.layout} ${x.m} ${x.n} ${x.k}`;

/** @param {{ median: number, best: number }} rate */
const show = ({ median: m, best }) =>
  best < 20 ? `${m.toFixed(1)} (${best.toFixed(1)})` : `${m.toFixed(0)} (${best.toFixed(0)})`;
