import type { FloatDtype, ModelConfig } from "@slayer/checkpoint";
import { Store } from "@slayer/tensor";
import { sumAngles } from "./angles.js";
import { checkBatch, type SequenceBatch } from "./batch.js";
import { checkBootstrap, CONFIDENCE } from "./bootstrap.js";
import { ImportanceError } from "./errors.js";
import { type MeasureOptions, remaining, Samples } from "./samples.js";
import { type AngularScores, bestRuns } from "./scores.js";
import { checkSettle, type SettleOptions, Settling } from "./settle.js";
import { StagedStates } from "./staged-states.js";
import { StateReader } from "./states.js";
import type { StreamedWeights } from "./weights.js";

export interface AngularOptions extends MeasureOptions {
  /** Distances at each sequence's last valid token (default, as Gromov et al.), or averaged over all valid tokens. */
  readonly token?: "last" | "mean";
  /** Default "pi": distances in units of π. */
  readonly unit?: "pi" | "radians";
  /** What counts as leaving the last block: the raw residual stream (default), or that after the final norm. */
  readonly final?: "raw" | "normed";
  /** Stop once the ranking of the blocks has settled. By default all batches are measured. */
  readonly untilSettled?: SettleOptions;
  /** With `StreamedWeights`: the type in which the checkpoint stores a tensor. By default f32. */
  readonly storedAs?: (name: string) => FloatDtype;
  /** With `StreamedWeights`: batches that pass through a block while its weights are on the device. Default 1. */
  readonly together?: number;
  /** Called after each batch with the number of sequences measured so far. */
  readonly onProgress?: (sequences: number) => void;
}

/**
 * Angular distance d(x_l, x_m) = arccos(x_l·x_m / (‖x_l‖‖x_m‖)) between the residual states of a model (Gromov et al.,
 * "The Unreasonable Ineffectiveness of the Deeper Layers", arXiv:2403.17887), for all pairs of states from one forward
 * pass per batch. x_l enters block l; x_L leaves the last block *before* the final norm: the norm rescales each
 * dimension, and taking the state after it (the last of Transformers' `hidden_states`) makes the last block look
 * important. Angles are computed on the host in f64.
 *
 * Each sequence is one sample; with token "mean" the average runs over tokens, and long sequences weigh more. The
 * intervals hold 95 % and regard the sequences as independent draws of the text one cares about.
 *
 * Memory beside the weights: with "last" that of a forward pass and (L+1)·B·D floats; with "mean" (L+1)·B·T·D floats,
 * on the device and on the host, so give it small batches. Batches of one shape in a row share one program. Padding
 * changes nothing, except with dynamic RoPE, whose frequencies follow the padded length (as in Transformers). With
 * `StreamedWeights` one block's weights are on the device at a time, each loaded once for all batches that go together;
 * their states wait on the host.
 *
 * @param weights the model's weights under the checkpoint's names, on any backend
 * @throws ImportanceError for batches that do not fit the model, none at all, states that are not finite, or bad options
 */
export async function angularDistances(
  config: ModelConfig,
  weights: Store | StreamedWeights,
  batches: Iterable<SequenceBatch> | AsyncIterable<SequenceBatch>,
  options: AngularOptions = {},
): Promise<AngularScores> {
  const { token = "last", unit = "pi", final = "raw", untilSettled, resamples = 2000, seed = 0, signal } = options;
  checkBootstrap(resamples, seed);
  const { blocks: L, hiddenSize: D, family } = config;
  if (untilSettled) checkSettle(untilSettled, L);
  const S = L + 1;
  // Of each sample the distances of all pairs of states, (0, 1), (0, 2), … (S − 2, S − 1).
  const pairs = Array.from({ length: S }, (_, l) =>
    Array.from({ length: L - l }, (__, i) => [l, l + 1 + i] as const),
  ).flat();
  const pairOf = (l: number, m: number): number => l * L - (l * (l - 1)) / 2 + (m - l - 1);
  const samples = new Samples(pairs.length, options.measured);
  const settling = untilSettled && new Settling({ ...untilSettled, resamples, seed }, samples.length);
  const perUnit = unit === "pi" ? 1 / Math.PI : 1;
  let decided = false;

  const reader =
    weights instanceof Store
      ? new StateReader(config, weights, { token, final })
      : new StagedStates(config, weights, { token, final, storedAs: options.storedAs ?? (() => "F32") });
  const together = weights instanceof Store ? 1 : options.together;
  try {
    for await (const group of remaining(batches, ({ batch }) => batch, samples.length, together)) {
      signal?.throwIfAborted();
      for (const batch of group) checkBatch(config, batch);
      const states = await reader.read(group, signal);
      for (const [i, batch] of group.entries()) {
        for (let b = 0; b < batch.batch; b++) {
          const first = token === "last" ? b : b * batch.length;
          const count = token === "last" ? 1 : (batch.lengths?.[b] ?? batch.length);
          const sums = await sumAngles(states[i]!, D, first, count, signal);
          samples.add(
            count,
            Float64Array.from(pairs, ([l, m]) => sums[l * S + m]! * perUnit),
          );
          samples.tokens += count;
        }
      }
      options.onProgress?.(samples.length);
      const ofBlocks = () =>
        samples.sums.map((sums) => Float64Array.from({ length: L }, (_, l) => sums[pairOf(l, l + 1)]!));
      decided = settling?.decided(ofBlocks, samples.counts) ?? false;
      if (decided) break;
      options.onMeasured?.(samples.noted());
    }
  } finally {
    reader.free();
  }
  if (samples.length === 0) throw new ImportanceError("there are no sequences to measure; give at least one");

  const matrix = (values: readonly number[]): number[][] =>
    Array.from({ length: S }, (_, l) =>
      Array.from({ length: S }, (__, m) => (l === m ? 0 : values[pairOf(Math.min(l, m), Math.max(l, m))]!)),
    );
  const intervals = samples.intervals(resamples, seed);
  const distances = matrix(samples.means());
  const low = intervals && matrix(intervals.map((interval) => interval.low));
  const high = intervals && matrix(intervals.map((interval) => interval.high));
  return {
    version: 1,
    metric: "angular",
    model: { family, blocks: L, hiddenSize: D },
    unit,
    token,
    final,
    samples: samples.length,
    tokens: samples.tokens,
    distances,
    low,
    high,
    blocks: Array.from({ length: L }, (_, block) => ({
      block,
      value: distances[block]![block + 1]!,
      low: low?.[block]![block + 1] ?? null,
      high: high?.[block]![block + 1] ?? null,
    })),
    interval: { method: "percentile bootstrap over sequences", confidence: CONFIDENCE, resamples, seed },
    runs: bestRuns({ distances, low, high }),
    settled: untilSettled ? { level: untilSettled.level, least: untilSettled.least ?? null, decided } : null,
  };
}
