import type { SequenceBatch } from "./batch.js";
import type { StagedBatch, Stages, State } from "./stages.js";

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

/** A batch to sweep, with its targets [B·T]. */
export interface ToSweep {
  readonly batch: SequenceBatch;
  readonly targets: Int32Array;
}

/**
 * The losses of a model and of all its variants with one change each. A variant is the model itself up to its change, so it
 * branches from the state the model has there; all live variants of all the batches pass through a block while its weights
 * are at hand. At most one state per variant and batch is kept, [B·T, D] on the host: up to L·|changes| + 1 for each batch.
 */
export async function sweepBatches(
  stages: Stages,
  L: number,
  batches: readonly ToSweep[],
  changes: readonly Change[],
  onEvaluation: () => void = () => {},
): Promise<SweptBatch[]> {
  const through = async (evaluation: Promise<State>): Promise<State> => {
    const state = await evaluation;
    onEvaluation();
    return state;
  };
  const live = batches.map(({ batch, targets }) => ({
    staged: stages.begin(batch),
    targets,
    x: new Float32Array() as State, // the unchanged model's
    states: new Map(changes.map((change): [Change, State[]] => [change, []])),
  }));
  // Batches of one shape in a row share programs.
  const inOrder = live.toSorted((a, b) => compareShapes(a.staged, b.staged));
  for (const one of inOrder) one.x = await stages.embed(one.staged);
  for (let l = 0; l < L; l++) {
    const averaged = changes.includes("average") && l < sites("average", L);
    for (const one of inOrder) {
      const { staged, x, states } = one;
      const next = await through(stages.block(l, staged, x));
      for (const variants of states.values()) {
        for (const [i, state] of variants.entries()) variants[i] = await through(stages.block(l, staged, state));
      }
      states.get("removal")?.push(x); // what enters block l goes on to block l + 1
      states.get("copy")?.push(await through(stages.block(l, staged, next)));
      one.x = next;
    }
    if (!averaged) continue;
    for (const { staged, x, states } of inOrder) {
      states.get("average")!.push(await through(stages.average(l, staged, x)));
    }
  }
  const swept = new Map<(typeof live)[number], SweptBatch>();
  for (const one of inOrder) {
    const { staged, x, states, targets } = one;
    const base = await stages.loss(staged, x, targets);
    const changed = new Map<Change, Float64Array[]>();
    for (const [change, variants] of states) {
      const losses: Float64Array[] = [];
      for (const state of variants) losses.push(await stages.loss(staged, state, targets));
      changed.set(change, losses);
    }
    swept.set(one, { base, changed });
  }
  return live.map((one) => swept.get(one)!);
}

function compareShapes({ batch: a }: StagedBatch, { batch: b }: StagedBatch): number {
  return a.length - b.length || a.batch - b.batch;
}
