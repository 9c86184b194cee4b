import type { Batch } from "@slayer/data";
import { forwardInputs } from "@slayer/model";
import { learningRate } from "@slayer/optim";
import type { SeenBatch } from "./anomaly.js";
import { TrainingError } from "./errors.js";
import type { StepMetrics } from "./metrics.js";
import type { RunParts } from "./loop.js";
import type { TrainingState } from "./state.js";

/** Gradients of one step, accumulated, not applied. */
export interface Gradients {
  readonly seen: readonly SeenBatch[];
  /** Mean over the scored tokens of all micro-batches, nats. */
  readonly loss: number;
  /** AdaLoRA's, not part of the loss. */
  readonly penalty?: number;
  /** Of the mean loss's gradient, before clipping. */
  readonly norm: number;
  readonly started: number;
}

/**
 * Accumulates the gradients of all micro-batches of a step. Each adds the sum over its scored tokens, and the whole is divided by
 * the number of all scored tokens at the end, so that unequal micro-batches give what one large batch would.
 */
export async function accumulateStep(
  { recipe, model, setup, allocator }: RunParts,
  nextBatch: () => Batch | null | Promise<Batch | null>,
): Promise<Gradients> {
  const started = performance.now();
  const { sequences, micro = sequences } = recipe.batch;
  const { program, optimizer, shape, precision } = setup;
  const seen: SeenBatch[] = [];
  for (let i = 0; i < sequences / micro; i++) {
    const batch = await nextBatch();
    if (!batch) throw new TrainingError("the data ended before the run did");
    const { inputIds, positions, targets, segments: segmentIds } = batch;
    const options = { ...shape, dtype: precision.activations, positions, segmentIds };
    await program.run({ ...forwardInputs(model.config, inputIds, options), targets });
    const scored = targets.reduce((n, target) => n + Number(target >= 0), 0);
    seen.push({ batch, nll: (await program.read("loss"))[0]!, scored });
  }
  const scored = seen.reduce((sum, batch) => sum + batch.scored, 0);
  if (scored === 0) throw new TrainingError("a step had no token to score");
  const loss = seen.reduce((sum, { nll }) => sum + nll, 0) / scored;
  if (!Number.isFinite(loss)) return { seen, loss, norm: NaN, started };
  const penalty = await allocator?.regularise(scored);
  const norm = await optimizer.norm(1 / scored);
  return { seen, loss, norm, started, ...(penalty !== undefined && { penalty }) };
}

/** Updates the parameters with the gradients of `accumulateStep`. */
export async function applyStep(
  { recipe, setup, prediction, allocator }: RunParts,
  { loss, norm, started, penalty }: Gradients,
  before: TrainingState,
  steps: number,
): Promise<StepMetrics> {
  const lr = learningRate(recipe.schedule, recipe.optimizer.lr, before.step, steps);
  await setup.optimizer.update(before.step - before.skipped, lr);
  const ranks = await allocator?.allocate(before.step + 1);
  const tokens = recipe.batch.sequences * setup.shape.length;
  const seconds = (performance.now() - started) / 1000;
  const peak = prediction.time?.peakFlops;
  return {
    step: before.step + 1,
    loss,
    lr,
    ...(penalty !== undefined && { penalty }),
    ...(ranks !== undefined && { ranks }),
    grad_norm: norm,
    tokens: before.tokens + tokens,
    tokens_per_second: tokens / seconds,
    seconds,
    ...(peak !== undefined && { mfu: prediction.modelFlops / seconds / peak }),
  };
}
