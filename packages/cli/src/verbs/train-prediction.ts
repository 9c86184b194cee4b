import type { Prediction, Recipe } from "@slayer/train";
import { duration, formatBytes } from "../progress.js";

/** What a run takes, line by line. */
export function describePrediction(recipe: Recipe, prediction: Prediction): string[] {
  const {
    parameters,
    trainable,
    memory,
    memoryFree,
    modelFlops,
    flops,
    bytes,
    recomputation,
    decayed,
    precision,
    time,
  } = prediction;
  const share = ((100 * trainable) / parameters).toFixed(1);
  const trained = `${trainable.toLocaleString("en")} (${share} %)`;
  const { total, ...parts } = memory;
  const used = Object.entries(parts).filter(([, size]) => size > 0);
  const decays = decayed.matrices.map(({ weightDecay, tensors }) => `${weightDecay} on ${tensors} matrices; `);
  return [
    `parameters   ${parameters.toLocaleString("en")}, ${recipe.adapter ? `beside them trained in the adapter` : "of them trained"} ${trained}`,
    `decay        ${decays.join("")}none on ${decayed.not} norms and biases`,
    `memory       ${formatBytes(total)}${total > memoryFree ? `, more than the ${formatBytes(memoryFree)} that are free here` : ""}: ${used.map(([name, size]) => `${name} ${formatBytes(size)}`).join(", ")}`,
    `types        activations ${precision.activations}, trained weights ${precision.trained}${precision.masters ? " with f32 masters" : precision.trained === "bf16" ? ", rounded stochastically" : ""}${recipe.frozen ? `, frozen ones ${recipe.frozen}` : ""}`,
    `per step     ${count(modelFlops)}FLOP counted for the model, ${count(flops)}FLOP in all, at least ${formatBytes(bytes)} moved`,
    ...(recomputation
      ? [
          `recompute    every block twice: saves ${formatBytes(recomputation.saved)} for ${(100 * recomputation.share).toFixed(0)} % of all arithmetic`,
        ]
      : []),
    ...(time
      ? [
          `device       matrix products at ${count(time.peakFlops)}FLOP/s, memory at ${count(time.bandwidth)}B/s, measured`,
          `time         ${seconds(time.secondsPerStep)} per step, ${rate(time.tokensPerSecond)} tokens/s, MFU ${(100 * time.mfu).toFixed(0)} %`,
        ]
      : []),
  ];
}

/** How many steps, how long, and until when. */
export function describeSteps(steps: number, { time }: Prediction): string {
  if (!time) return `${steps} steps`;
  const left = steps * time.secondsPerStep;
  const end = Date.now() + 1000 * left;
  const when =
    end < Date.UTC(10_000) ? `, until ${new Date(end).toISOString().slice(0, 16).replace("T", " ")} UTC` : "";
  return `${steps} steps, ${duration(left)}${when}`;
}

/** 1.23 G, with a blank before the unit. */
function count(value: number): string {
  const prefixes = ["", "k", "M", "G", "T", "P", "E", "Z"];
  const power = value < 1 ? 0 : Math.min(prefixes.length - 1, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** power).toPrecision(3)} ${prefixes[power]}`;
}

/** Whole, but with a digit below 10. */
export function rate(perSecond: number): string {
  return perSecond < 9.95 ? perSecond.toPrecision(2) : String(Math.round(perSecond));
}

export function seconds(value: number): string {
  if (value >= 60) return duration(value);
  return value >= 1 ? `${value.toPrecision(3)} s` : `${(1000 * value).toPrecision(3)} ms`;
}
