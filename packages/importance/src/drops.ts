import type { FloatDtype, ModelConfig } from "@slayer/checkpoint";
import type { Store } from "@slayer/tensor";
import { checkBatch, nextTokenTargets, scoredTokens, type SequenceBatch } from "./batch.js";
import { checkBootstrap, CONFIDENCE, type Interval } from "./bootstrap.js";
import { type ChoiceItem, choiceRows, judge, mcnemar } from "./choices.js";
import { ImportanceError } from "./errors.js";
import { type MeasureOptions, remaining, Samples } from "./samples.js";
import type { DropScore, DropScores, DropUnit } from "./scores.js";
import { checkSettle, type SettleOptions, Settling } from "./settle.js";
import { Stages } from "./stages.js";
import { type Change, sites, sweepBatches } from "./sweep.js";
import type { StreamedWeights } from "./weights.js";

type Source<T> = Iterable<T> | AsyncIterable<T>;

/** What the drops are measured on: held-out text, or multiple-choice items, each batch in one forward pass. */
export type DropData =
  | { readonly unit: "loss"; readonly batches: Source<SequenceBatch> }
  | { readonly unit: "likelihood" | "accuracy"; readonly batches: Source<readonly ChoiceItem[]> };

export interface DropOptions extends MeasureOptions {
  /**
   * The type in which the checkpoint stores a tensor: means of two blocks are rounded to it, as surgery would, and streamed
   * weights take it on the device. By default f32.
   */
  readonly storedAs?: (name: string) => FloatDtype;
  /** Stop once the ranking has settled. By default all batches are measured. */
  readonly untilSettled?: SettleOptions;
  /** Batches that pass through a block while its weights are at hand. Default 1. */
  readonly together?: number;
  /** Called after each block evaluation; `sweepEvaluations` says how many there are per batch. */
  readonly onProgress?: (evaluations: number) => void;
}

/**
 * How much worse the model does with one block removed, or one inserted (unzeroed, for a zeroed one changes nothing), for
 * every block: `removal` feeds what enters block l to block l + 1; `copy` runs block l twice; `average` runs the mean of
 * blocks l and l + 1 between them (Chen et al., "Llama SLayer 8B", §3.1.2 and §3.1.3). Variants branch from the unchanged
 * model's states, which gives the same numbers as running each whole, in half the work (see sweep.ts).
 *
 * Each sequence or item is one sample; the 95 % intervals are bootstrapped over samples, each resample comparing changed and
 * unchanged model on the same ones (paired). On accuracy there is also McNemar's exact test.
 *
 * Memory beside the weights: one block's forward pass on the device, and up to (3L + 1)·B·T·D floats of states on the host
 * for each of the batches that go together. With `StreamedWeights` one block's weights are on the device at a time, each
 * loaded once for all batches that go together, and the numbers are the same. Padding changes nothing, except with dynamic
 * RoPE, whose frequencies follow the padded length.
 *
 * @param changes which sweeps to run, each branching from the same unchanged run
 * @returns one per change, in order
 * @throws ImportanceError for data that do not fit the model, none at all, losses that are not finite, or bad options
 */
export async function blockDrops(
  config: ModelConfig,
  weights: Store | StreamedWeights,
  data: DropData,
  changes: readonly Change[],
  options: DropOptions = {},
): Promise<DropScores[]> {
  const { storedAs = () => "F32", untilSettled, together = 1, resamples = 2000, seed = 0, signal } = options;
  checkBootstrap(resamples, seed);
  checkChanges(config, changes, untilSettled);
  // Of each sample the unchanged model's sum, then the drops of each change: columns `from` … `to − 1`.
  let width = 1;
  const columns = changes.map((change) => ({ from: width, to: (width += sites(change, config.blocks)) }));
  const samples = new Samples(width, options.measured);
  const settling =
    untilSettled && changes.map(() => new Settling({ ...untilSettled, resamples, seed }, samples.length));
  let evaluations = 0;
  let decided = false;
  const stages = new Stages(config, weights, storedAs, signal);
  try {
    const countOf = (input: SequenceBatch | readonly ChoiceItem[]) => ("ids" in input ? input.batch : input.length);
    for await (const group of remaining<SequenceBatch | readonly ChoiceItem[]>(
      data.batches,
      countOf,
      samples.length,
      together,
    )) {
      signal?.throwIfAborted();
      const prepared = group.map((input) => prepare(config, data.unit, input));
      const swept = await sweepBatches(stages, config.blocks, prepared, changes, () =>
        options.onProgress?.(++evaluations),
      );
      for (const [i, { batch, targets, weightsOfSamples, score }] of prepared.entries()) {
        const { base, changed } = swept[i]!;
        const before = score(base);
        const after = changes.flatMap((change) => changed.get(change)!.map(score));
        for (const [s, count] of weightsOfSamples.entries()) {
          samples.add(count, Float64Array.of(before[s]!, ...after.map((values) => values[s]! - before[s]!)));
        }
        for (let b = 0; b < batch.batch; b++) samples.tokens += scoredTokens(targets, b, batch.length);
      }
      // Every sweep asked for must have settled; each keeps count of its own looks.
      decided =
        settling?.map((one, i) => one.decided(() => slices(samples, columns[i]!), samples.counts)).every(Boolean) ??
        false;
      if (decided) break;
      options.onMeasured?.(samples.noted());
    }
  } finally {
    stages.free();
  }
  if (samples.length === 0)
    throw new ImportanceError("there is nothing to measure; give at least one sequence or item");

  const { family, blocks, hiddenSize } = config;
  const noun = data.unit === "loss" ? "sequences" : "items";
  const intervals = samples.intervals(resamples, seed);
  const accuracy = data.unit === "accuracy";
  const base = accuracy ? accuracyOf(samples, intervals?.[0]) : lossOf(samples, intervals?.[0]);
  return changes.map((change, i) => ({
    version: 1,
    metric: change === "removal" ? "removal" : "insertion",
    init: change === "removal" ? null : change,
    model: { family, blocks, hiddenSize },
    unit: data.unit,
    ...base,
    samples: samples.length,
    tokens: samples.tokens,
    blocks: dropScores(samples, columns[i]!, intervals, accuracy),
    interval: { method: `paired percentile bootstrap over ${noun}`, confidence: CONFIDENCE, resamples, seed },
    settled: untilSettled ? { level: untilSettled.level, least: untilSettled.least ?? null, decided } : null,
  }));
}

interface Prepared {
  readonly batch: SequenceBatch;
  readonly targets: Int32Array;
  /** Observations in each sample: a sequence's scored tokens; one for an item. */
  readonly weightsOfSamples: readonly number[];
  /** Per sample, from the rows' summed losses, what is measured; larger is worse. */
  readonly score: (nll: Float64Array) => Float64Array;
}

function prepare(config: ModelConfig, unit: DropUnit, input: SequenceBatch | readonly ChoiceItem[]): Prepared {
  if (unit === "loss") {
    const batch = input as SequenceBatch;
    checkBatch(config, batch);
    const targets = nextTokenTargets(batch);
    const weightsOfSamples = Array.from({ length: batch.batch }, (_, b) => scoredTokens(targets, b, batch.length));
    return { batch, targets, weightsOfSamples, score: (nll) => nll };
  }
  const items = input as readonly ChoiceItem[];
  const score = (nll: Float64Array) => judge(items, nll)[unit === "accuracy" ? "wrong" : "perByte"];
  const rows = choiceRows(items);
  checkBatch(config, rows.batch);
  return { ...rows, weightsOfSamples: items.map(() => 1), score };
}

interface Columns {
  readonly from: number;
  readonly to: number;
}

function slices({ sums }: Samples, { from, to }: Columns): Float64Array[] {
  return sums.map((row) => row.subarray(from, to));
}

type Base = Pick<DropScores, "base" | "baseLow" | "baseHigh">;

function lossOf(samples: Samples, interval: Interval | undefined): Base {
  const base = samples.total(0) / samples.observations;
  return { base, baseLow: interval?.low ?? null, baseHigh: interval?.high ?? null };
}

/** The share of items that were not answered wrongly. */
function accuracyOf(samples: Samples, wrong: Interval | undefined): Base {
  const base = (samples.length - samples.total(0)) / samples.length;
  return { base, baseLow: wrong ? 1 - wrong.high : null, baseHigh: wrong ? 1 - wrong.low : null };
}

function dropScores(
  samples: Samples,
  { from, to }: Columns,
  intervals: Interval[] | null,
  tested: boolean,
): DropScore[] {
  const means = samples.means();
  return Array.from({ length: to - from }, (_, block) => {
    const k = from + block;
    const { low = null, high = null } = intervals?.[k] ?? {};
    const score = { block, value: means[k]!, low, high };
    if (!tested) return score;
    const lost = samples.sums.filter((row) => row[k]! > 0).length;
    const gained = samples.sums.filter((row) => row[k]! < 0).length;
    return { ...score, mcnemar: { lost, gained, p: mcnemar(lost, gained) } };
  });
}

function checkChanges({ blocks }: ModelConfig, changes: readonly Change[], settle: SettleOptions | undefined): void {
  if (changes.length === 0 || new Set(changes).size < changes.length) {
    throw new ImportanceError(`want one or more different changes, got ${changes.join(", ") || "none"}`);
  }
  for (const change of changes) {
    if (sites(change, blocks) < 1) throw new ImportanceError("a model of one block has no two blocks to average");
  }
  if (settle) checkSettle(settle, Math.min(...changes.map((change) => sites(change, blocks))));
}
