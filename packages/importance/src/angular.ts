import type { ModelConfig } from "@slayer/checkpoint";
import type { Store } from "@slayer/tensor";
import { sumAngles } from "./angles.js";
import { checkBatch, type SequenceBatch } from "./batch.js";
import { bootstrapMeans, checkBootstrap, CONFIDENCE } from "./bootstrap.js";
import { ImportanceError } from "./errors.js";
import { type AngularScores, bestRuns } from "./scores.js";
import { StateReader } from "./states.js";

export interface AngularOptions {
  /** Distances at each sequence's last valid token (default, as Gromov et al.), or averaged over all valid tokens. */
  readonly token?: "last" | "mean";
  /** Default "pi": distances in units of π. */
  readonly unit?: "pi" | "radians";
  /** What counts as leaving the last block: the raw residual stream (default), or that after the final norm. */
  readonly final?: "raw" | "normed";
  /** Of the bootstrap behind the confidence intervals. Default 2000. */
  readonly resamples?: number;
  /** Of the bootstrap: 0 … 2³² − 1. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
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
 * changes nothing, except with dynamic RoPE, whose frequencies follow the padded length (as in Transformers).
 *
 * @param store the model's weights under the checkpoint's names, on any backend
 * @throws ImportanceError for batches that do not fit the model, none at all, states that are not finite, or bad options
 */
export async function angularDistances(
  config: ModelConfig,
  store: Store,
  batches: Iterable<SequenceBatch> | AsyncIterable<SequenceBatch>,
  options: AngularOptions = {},
): Promise<AngularScores> {
  const { token = "last", unit = "pi", final = "raw", resamples = 2000, seed = 0, signal } = options;
  checkBootstrap(resamples, seed);
  const { blocks: L, hiddenSize: D, family } = config;
  const S = L + 1;
  const total = new Float64Array(S * S);
  const sumsOfBlocks: Float64Array[] = [];
  const counts: number[] = [];
  const perUnit = unit === "pi" ? 1 / Math.PI : 1;

  const reader = new StateReader(config, store, { token, final });
  try {
    for await (const batch of batches) {
      signal?.throwIfAborted();
      checkBatch(config, batch);
      const states = await reader.read(batch, signal);
      for (let b = 0; b < batch.batch; b++) {
        const first = token === "last" ? b : b * batch.length;
        const count = token === "last" ? 1 : (batch.lengths?.[b] ?? batch.length);
        const sums = (await sumAngles(states, D, first, count, signal)).map((radians) => radians * perUnit);
        sums.forEach((sum, pair) => (total[pair]! += sum));
        sumsOfBlocks.push(Float64Array.from({ length: L }, (_, l) => sums[l * S + l + 1]!));
        counts.push(count);
      }
      options.onProgress?.(counts.length);
    }
  } finally {
    reader.free();
  }
  if (counts.length === 0) throw new ImportanceError("there are no sequences to measure; give at least one");

  const tokens = counts.reduce((a, b) => a + b, 0);
  const distances = Array.from({ length: S }, (_, l) =>
    Array.from({ length: S }, (__, m) => total[Math.min(l, m) * S + Math.max(l, m)]! / tokens),
  );
  const intervals = bootstrapMeans(sumsOfBlocks, counts, { resamples, seed, confidence: CONFIDENCE });
  return {
    version: 1,
    metric: "angular",
    model: { family, blocks: L, hiddenSize: D },
    unit,
    token,
    final,
    samples: counts.length,
    tokens,
    distances,
    blocks: Array.from({ length: L }, (_, block) => ({
      block,
      value: distances[block]![block + 1]!,
      low: intervals?.[block]?.low ?? null,
      high: intervals?.[block]?.high ?? null,
    })),
    interval: { method: "percentile bootstrap over sequences", confidence: CONFIDENCE, resamples, seed },
    runs: bestRuns(distances),
  };
}
