import type { ModelConfig } from "@slayer/checkpoint";
import { forward, forwardInputs, typesIn } from "@slayer/model";
import { differentiate, Graph, lmHeadLoss, Program, type Store, sum } from "@slayer/tensor";
import { checkBatch, cleanIds, nextTokenTargets, scoredTokens, type SequenceBatch, sumRows } from "./batch.js";
import { checkBootstrap, CONFIDENCE } from "./bootstrap.js";
import { ImportanceError } from "./errors.js";
import { type MeasureOptions, remaining, Samples } from "./samples.js";
import type { GateScores } from "./scores.js";
import { checkSettle, type SettleOptions, Settling } from "./settle.js";

export interface GateOptions extends MeasureOptions {
  /** Stop once the ranking of the blocks, by magnitude, has settled. By default all batches are measured. */
  readonly untilSettled?: SettleOptions;
  /** Called after each batch with the number of sequences measured so far. */
  readonly onProgress?: (sequences: number) => void;
}

/**
 * Gradient of the loss with respect to a gate α_l on each block's contribution to the residual stream,
 *   x_{l+1} = x_l + α_l·(block_l(x_l) − x_l),   at α = 1,
 * for all l from one forward and one backward pass. α_l enters through x_{l+1} alone, and what the later blocks make of
 * it is in the gradient that reaches x_{l+1}; at α = 1 x_{l+1} = block_l(x_l), hence
 *   ∂loss/∂α_l = ⟨∂loss/∂x_{l+1}, x_{l+1} − x_l⟩   summed over tokens and dimensions.
 * The backward pass goes to the states only: no weight gets a gradient. Inner products are taken on the host in f64.
 *
 * It is a screen before the exact sweeps, and its magnitude is what counts: training has brought ∂loss/∂α near 0 for every
 * block, the important ones too, so that to take −∂loss/∂α for the rise of the loss on the whole way from α = 1 to 0 would
 * rank blocks by their noise. A large gradient either way belongs to a block on which the loss depends strongly.
 *
 * Each sequence is one sample of its scored tokens; the intervals are bootstrapped over sequences. Memory beside the
 * weights: a forward pass with all intermediates kept, and 2(L+1)·B·T·D floats, on the device and on the host.
 *
 * @param store the model's weights under the checkpoint's names, on any backend
 * @throws ImportanceError for batches that do not fit the model, none at all, gradients that are not finite, or bad options
 */
export async function gateGradients(
  config: ModelConfig,
  store: Store,
  batches: Iterable<SequenceBatch> | AsyncIterable<SequenceBatch>,
  options: GateOptions = {},
): Promise<GateScores> {
  const { untilSettled, resamples = 2000, seed = 0, signal } = options;
  checkBootstrap(resamples, seed);
  const { blocks: L, hiddenSize, family } = config;
  if (untilSettled) checkSettle(untilSettled, L);
  // Of each sample its loss, then the gradients of the L gates.
  const samples = new Samples(1 + L, options.measured);
  const settling = untilSettled && new Settling({ ...untilSettled, magnitude: true, resamples, seed }, samples.length);
  let decided = false;
  const reader = new GateReader(config, store);
  try {
    for await (const [batch] of remaining(batches, (one) => one.batch, samples.length)) {
      signal?.throwIfAborted();
      checkBatch(config, batch!);
      const targets = nextTokenTargets(batch!);
      const { nll, gates } = await reader.read(batch!, targets, signal);
      for (let b = 0; b < batch!.batch; b++) {
        const scored = scoredTokens(targets, b, batch!.length);
        samples.add(scored, Float64Array.of(nll[b]!, ...gates[b]!));
        samples.tokens += scored;
      }
      options.onProgress?.(samples.length);
      decided = settling?.decided(() => samples.sums.map((sums) => sums.subarray(1)), samples.counts) ?? false;
      if (decided) break;
      options.onMeasured?.(samples.noted());
    }
  } finally {
    reader.free();
  }
  if (samples.length === 0) throw new ImportanceError("there are no sequences to measure; give at least one");
  const [base, ...means] = samples.means();
  const [baseInterval, ...intervals] = samples.intervals(resamples, seed) ?? [];
  return {
    version: 1,
    metric: "gate",
    model: { family, blocks: L, hiddenSize },
    base: base!,
    baseLow: baseInterval?.low ?? null,
    baseHigh: baseInterval?.high ?? null,
    samples: samples.length,
    tokens: samples.tokens,
    blocks: means.map((value, block) => ({
      block,
      value,
      low: intervals[block]?.low ?? null,
      high: intervals[block]?.high ?? null,
    })),
    interval: { method: "percentile bootstrap over sequences", confidence: CONFIDENCE, resamples, seed },
    settled: untilSettled ? { level: untilSettled.level, least: untilSettled.least ?? null, decided } : null,
  };
}

/** One forward and backward pass per batch; the program of the last shape is kept. Free it after use. */
class GateReader {
  readonly #config: ModelConfig;
  readonly #store: Store;
  #current: { shape: string; program: Program } | undefined;

  constructor(config: ModelConfig, store: Store) {
    this.#config = config;
    this.#store = store;
  }

  /** Summed losses [B], and per sequence the gradients [L] of its summed loss. */
  async read(
    batch: SequenceBatch,
    targets: Int32Array,
    signal?: AbortSignal,
  ): Promise<{ nll: Float64Array; gates: Float64Array[] }> {
    const { batch: B, length: T } = batch;
    const { blocks: L, hiddenSize: D } = this.#config;
    const program = await this.#programFor(B, T);
    const inputs = forwardInputs(this.#config, cleanIds(batch), { batch: B, length: T });
    await program.run({ ...inputs, targets }, signal);
    const gates = Array.from({ length: B }, () => new Float64Array(L));
    let entering = await program.read("state.0");
    for (let l = 0; l < L; l++) {
      const leaving = await program.read(`state.${l + 1}`);
      const gradient = await program.read(`gradient.${l + 1}`);
      for (let b = 0; b < B; b++) {
        let product = 0;
        for (let i = b * T * D; i < (b + 1) * T * D; i++) product += gradient[i]! * (leaving[i]! - entering[i]!);
        if (!Number.isFinite(product)) {
          throw new ImportanceError(
            `the gradient at block ${l} is not finite; the weights hold NaN or Infinity, or overflow float32`,
          );
        }
        gates[b]![l] = product;
      }
      entering = leaving;
    }
    return { nll: sumRows(await program.read("nll"), B, T), gates };
  }

  free(): void {
    this.#current?.program.free();
    this.#current = undefined;
  }

  async #programFor(batch: number, length: number): Promise<Program> {
    const shape = `${batch},${length}`;
    if (this.#current?.shape === shape) return this.#current.program;
    this.free();
    const graph = new Graph();
    const { residual, final, head } = forward(graph, this.#config, { batch, length, weights: typesIn(this.#store) });
    const nll = lmHeadLoss(final, head, graph.input("targets", [batch, length], "i32"));
    // Sequences do not see one another, so the gradient of the sum holds each one's own in its rows.
    const gradients = differentiate(sum(nll), residual.slice(1));
    const outputs = Object.fromEntries([
      ...residual.map((state, l) => [`state.${l}`, state]),
      ...gradients.map((gradient, i) => [`gradient.${i + 1}`, gradient]),
      ["nll", nll],
    ]);
    const program = await Program.compile(graph, outputs, this.#store);
    this.#current = { shape, program };
    return program;
  }
}
