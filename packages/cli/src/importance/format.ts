import {
  type AngularScores,
  type BlockScore,
  type DropScores,
  type GateScores,
  leastImportant,
  type Scores,
} from "@slayer/importance";

/** Scores as a person reads them in a terminal. */
export function formatScores(scores: Scores): string {
  if (scores.metric === "angular") return formatAngular(scores);
  return scores.metric === "gate" ? formatGate(scores) : formatDrops(scores);
}

const MOST_RUNS = 8;
const percent = (share: number): string => `${Math.round(100 * share)} %`;
const cell = (value: number | null): string => (value === null ? "–" : value.toFixed(4)).padStart(8);

function formatAngular(scores: AngularScores): string {
  const { blocks, runs, samples, token, unit, final, interval } = scores;
  const per = unit === "pi" ? "in units of π" : "in radians";
  return [
    `angular distance of each block's states, ${per}, token ${token}, last state ${final}, ${samples} sequences`,
    `block  distance   ${percent(interval.confidence)} interval`,
    ...blocks.map((score) => row(score)),
    "",
    "least changed by removing",
    ...runs.slice(0, Math.min(MOST_RUNS, blocks.length - 1)).map(({ n, start, ...score }) => {
      const which = n === 1 ? `block ${start}` : `blocks ${start}-${start + n - 1}`;
      return `${row({ block: n, ...score })}  ${which}`;
    }),
    ...settledLines(scores),
  ].join("\n");
}

const units: Readonly<Record<DropScores["unit"], string>> = {
  loss: "rise of the loss in nats per token",
  likelihood: "drop of the right choice's log-likelihood in nats per byte",
  accuracy: "drop of accuracy",
};

function formatDrops(scores: DropScores): string {
  const { metric, init, unit, samples, tokens, blocks, interval } = scores;
  const change = metric === "removal" ? "the block removed" : `one more block (${init}) inserted after it`;
  const noun = unit === "loss" ? "sequences" : "items";
  return [
    `${units[unit]} with ${change}; ${baseText(scores)} without; ${samples} ${noun}, ${tokens} tokens scored`,
    `block      drop   ${percent(interval.confidence)} interval${unit === "accuracy" ? "       lost gained  McNemar p" : ""}`,
    ...blocks.map(({ mcnemar, ...score }) => {
      if (!mcnemar) return row(score);
      const { lost, gained, p } = mcnemar;
      return `${row(score)}  ${String(lost).padStart(6)} ${String(gained).padStart(6)}  ${p.toPrecision(3)}`;
    }),
    "",
    `least important first: ${leastImportant(scores).join(", ")}`,
    ...settledLines(scores),
  ].join("\n");
}

function formatGate(scores: GateScores): string {
  const { samples, tokens, blocks, interval } = scores;
  return [
    `∂loss/∂α of a gate on each block, nats per token; loss ${baseText(scores)}; ` +
      `${samples} sequences, ${tokens} tokens scored`,
    `block  gradient   ${percent(interval.confidence)} interval`,
    ...blocks.map((score) => row(score)),
    "",
    `least important first: ${leastImportant(scores).join(", ")}`,
    ...settledLines(scores),
  ].join("\n");
}

function baseText({ base, baseLow, baseHigh }: DropScores | GateScores): string {
  if (baseLow === null || baseHigh === null) return base.toFixed(4);
  return `${base.toFixed(4)} (${baseLow.toFixed(4)} … ${baseHigh.toFixed(4)})`;
}

function settledLines({ settled }: Scores): string[] {
  if (settled === null) return [];
  const what = settled.least === null ? "the ranking" : `which ${settled.least} matter least`;
  return [`${what} ${settled.decided ? "settled" : "did not settle"} at ${percent(settled.level)}`];
}

function row({ block, value, low, high }: BlockScore): string {
  return `${String(block).padStart(5)}  ${cell(value)}  ${cell(low)} …${cell(high)}`;
}
