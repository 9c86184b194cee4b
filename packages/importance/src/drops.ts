import type { FloatDtype, ModelConfig } from "@slayer/checkpoint";
import type { Store } from "@slayer/tensor";
import { checkBatch, nextTokenTargets, scoredTokens, type SequenceBatch } from "./batch.js";
import { bootstrapMeans, checkBootstrap, CONFIDENCE } from "./bootstrap.js";
import { type ChoiceItem, choiceRows, judge, mcnemar } from "./choices.js";
import { ImportanceError } from "./errors.js";
import type { DropScore, DropScores, DropUnit } from "./scores.js";
import { type SettleOptions, Settling } from "./settle.js";
import { Stages } from "./stages.js";
import { type Change, sites, sweepBatch } from "./sweep.js";
import type { StreamedWeights } from "./weights.js";

type Source<T> = Iterable<T> | AsyncIterable<T>;

/** What the drops are measured on: held-out text, or multiple-choice items, each batch in one forward pass. */
export type DropData =
  | { readonly unit: "loss"; readonly batches: Source<SequenceBatch> }
  | { readonly unit: "likelihood" | "accuracy"; readonly batches: Source<readonly ChoiceItem[]> };

export interface DropOptions {
  /**
   * The type in which the checkpoint stores a tensor: means of two blocks are rounded to it, as surgery would. By default
   * they stay f32.
   */
  readonly storedAs?: (name: string) => FloatDtype;
  /** Stop once the ranking has settled. By default all batches are measured. */
  readonly untilSettled?: SettleOptions;
  /** Of the bootstrap behind the confidence intervals. Default 2000. */
  readonly resamples?: number;
  /** Of the bootstrap: 0 … 2³² − 1. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
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
 * Memory beside the weights: one block's forward pass on the device, and up to (3L + 1)·B·T·D floats of states on the host.
 * With `StreamedWeights` one block's weights are on the device at a time, each loaded once per batch, and the numbers are
 * the same. Padding changes nothing, except with dynamic RoPE, whose frequencies follow the padded length.
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
  const { storedAs = () => "F32", untilSettled, resamples = 2000, seed = 0, signal } = options;
  checkBootstrap(resamples, seed);
  checkChanges(config, changes, untilSettled);
  const tables = changes.map((change) => ({ change, table: new DropTable(sites(change, config.blocks)) }));
  const settling = untilSettled && tables.map(() => new Settling({ ...untilSettled, resamples, seed }));
  const counts: number[] = [];
  let [base, tokens, evaluations, decided] = [0, 0, 0, false];
  const stages = new Stages(config, weights, storedAs, signal);
  try {
    for await (const input of data.batches) {
      signal?.throwIfAborted();
      const { batch, targets, weightsOfSamples, score } = prepare(config, data.unit, input);
      const swept = await sweepBatch(stages, config.blocks, batch, targets, changes, () =>
        options.onProgress?.(++evaluations),
      );
      const before = score(swept.base);
      for (const { change, table } of tables) table.add(before, swept.changed.get(change)!.map(score));
      counts.push(...weightsOfSamples);
      base += before.reduce((a, b) => a + b, 0);
      for (let b = 0; b < batch.batch; b++) tokens += scoredTokens(targets, b, batch.length);
      // Every sweep asked for must have settled; each keeps count of its own looks.
      decided = settling?.map((one, i) => one.decided(tables[i]!.table.drops, counts)).every(Boolean) ?? false;
      if (decided) break;
    }
  } finally {
    stages.free();
  }
  if (counts.length === 0) throw new ImportanceError("there is nothing to measure; give at least one sequence or item");

  const observations = counts.reduce((a, b) => a + b, 0);
  const { family, blocks, hiddenSize } = config;
  const noun = data.unit === "loss" ? "sequences" : "items";
  return tables.map(({ change, table }) => ({
    version: 1,
    metric: change === "removal" ? "removal" : "insertion",
    init: change === "removal" ? null : change,
    model: { family, blocks, hiddenSize },
    unit: data.unit,
    base: (data.unit === "accuracy" ? observations - base : base) / observations,
    samples: counts.length,
    tokens,
    blocks: table.scores(counts, { resamples, seed }, data.unit === "accuracy"),
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

/** Drops of one kind of change, sample by sample. */
class DropTable {
  /** Per sample [K]. */
  readonly drops: Float64Array[] = [];
  readonly #sites: number;

  constructor(count: number) {
    this.#sites = count;
  }

  /** `before` [samples], and per site after the change [samples]. */
  add(before: Float64Array, after: readonly Float64Array[]): void {
    before.forEach((value, s) => this.drops.push(Float64Array.from(after, (values) => values[s]! - value)));
  }

  scores(
    counts: readonly number[],
    bootstrap: { resamples: number; seed: number },
    tested: boolean,
  ): readonly DropScore[] {
    const total = counts.reduce((a, b) => a + b, 0);
    const intervals = bootstrapMeans(this.drops, counts, { ...bootstrap, confidence: CONFIDENCE });
    return Array.from({ length: this.#sites }, (_, block) => {
      const drops = this.drops.map((values) => values[block]!);
      const score = {
        block,
        value: drops.reduce((a, b) => a + b, 0) / total,
        low: intervals?.[block]?.low ?? null,
        high: intervals?.[block]?.high ?? null,
      };
      if (!tested) return score;
      const lost = drops.filter((drop) => drop > 0).length;
      const gained = drops.filter((drop) => drop < 0).length;
      return { ...score, mcnemar: { lost, gained, p: mcnemar(lost, gained) } };
    });
  }
}

function checkChanges({ blocks }: ModelConfig, changes: readonly Change[], settle: SettleOptions | undefined): void {
  if (changes.length === 0 || new Set(changes).size < changes.length) {
    throw new ImportanceError(`want one or more different changes, got ${changes.join(", ") || "none"}`);
  }
  for (const change of changes) {
    if (sites(change, blocks) < 1) throw new ImportanceError("a model of one block has no two blocks to average");
  }
  if (!settle) return;
  const { level, least } = settle;
  if (!(level > 0 && level < 1)) throw new ImportanceError(`level must be between 0 and 1, got ${level}`);
  const most = Math.min(...changes.map((change) => sites(change, blocks))) - 1;
  if (least !== undefined && !(Number.isInteger(least) && least >= 1 && least <= most)) {
    throw new ImportanceError(`least must be an integer from 1 to ${most}, got ${least}`);
  }
}
