import type { SequenceBatch } from "./batch.js";
import type { Stages, State } from "./stages.js";

/** One change to a model: a block removed, or one inserted after it, a copy of it or its mean with the next. */
export type Change = "removal" | "copy" | "average";

/** Blocks of a model of L that a change can be made at; after the last there is no next to average with. */
export function sites(change: Change, L: number): number {
  return change === "average" ? L - 1 : L;
}

/**
 * Block evaluations per batch: L for the model itself, then for each variant what comes after its branch. For all three
 * changes of 32 blocks 32 + 496 + 528 + 527 = 1,583, where running each variant whole takes 3,103.
 */
export function sweepEvaluations(L: number, changes: readonly Change[]): number {
  const later = (L * (L - 1)) / 2; // Σ over l of the blocks after l
  return changes.reduce((sum, change) => sum + later + (change === "removal" ? 0 : sites(change, L)), L);
}

export interface SweptBatch {
  /** Summed losses of the unchanged model, [B]. */
  readonly base: Float64Array;
  /** For each change, per block it is made at, [B]. */
  readonly changed: ReadonlyMap<Change, readonly Float64Array[]>;
}

/**
 * The losses of a model and of all its variants with one change each. A variant is the model itself up to its change, so it
 * branches from the state the model has there; all live variants pass through a block while its weights are at hand. At most
 * one state per variant is kept, [B·T, D] on the host: up to L·|changes| + 1 together.
 */
export async function sweepBatch(
  stages: Stages,
  L: number,
  batch: SequenceBatch,
  targets: Int32Array,
  changes: readonly Change[],
  onEvaluation: () => void = () => {},
): Promise<SweptBatch> {
  const states = new Map(changes.map((change): [Change, State[]] => [change, []]));
  const through = async (evaluation: Promise<State>): Promise<State> => {
    const state = await evaluation;
    onEvaluation();
    return state;
  };
  let x = await stages.embed(batch);
  for (let l = 0; l < L; l++) {
    const next = await through(stages.block(l, x));
    for (const variants of states.values()) {
      for (const [i, state] of variants.entries()) variants[i] = await through(stages.block(l, state));
    }
    states.get("removal")?.push(x); // what enters block l goes on to block l + 1
    states.get("copy")?.push(await through(stages.block(l, next)));
    if (l < sites("average", L)) states.get("average")?.push(await through(stages.average(l, next)));
    x = next;
  }
  const base = await stages.loss(x, targets);
  const changed = new Map<Change, Float64Array[]>();
  for (const [change, variants] of states) {
    const losses: Float64Array[] = [];
    for (const state of variants) losses.push(await stages.loss(state, targets));
    changed.set(change, losses);
  }
  return { base, changed };
}
