import { join } from "node:path";
import type { Checkpoint } from "@slayer/checkpoint";
import type { Batch, Tokenizer } from "@slayer/data";
import { perplexity } from "@slayer/eval";
import { forwardInputs } from "@slayer/model";
import { type AdamW, learningRate } from "@slayer/optim";
import type { Program, Store } from "@slayer/tensor";
import { heldOutIds, type TrainingData } from "./corpus.js";
import { InterruptedError, TrainingError } from "./errors.js";
import { exportModel } from "./export.js";
import { appendMetrics, type EvalMetrics, type StepMetrics, truncateMetrics } from "./metrics.js";
import type { Recipe } from "./recipe.js";
import { restoreState, saveState, type TrainingState } from "./state.js";
import type { Prediction, StepShape } from "./step.js";

export interface TrainOptions {
  /** Go on from the newest checkpoint in the run's directory. */
  resume?: boolean;
  /** Replace an existing run. */
  overwrite?: boolean;
  /** After it is aborted the current step is finished, the state saved, and the call rejects with InterruptedError. */
  signal?: AbortSignal;
  onPlan?: (prediction: Prediction & { steps: number; firstStep: number }) => void;
  onStep?: (metrics: StepMetrics, steps: number) => void;
  onEval?: (metrics: EvalMetrics) => void;
  warn?: (message: string) => void;
}

export interface TrainResult {
  /** The trained model, a Hugging Face directory. */
  model: string;
  steps: number;
  tokens: number;
  finalLoss: number | null;
  seconds: number;
}

/** Everything a run consists of, ready. */
export interface RunParts {
  recipe: Recipe;
  options: TrainOptions;
  checkpoint: Checkpoint;
  store: Store;
  optimizer: AdamW;
  /** One micro-batch forward and backward. */
  program: Program;
  shape: StepShape;
  tokenizer: Tokenizer;
  data: TrainingData;
}

/** Steps from where the run stands to its end; saves, evaluates, and exports the model. */
export async function runLoop(parts: RunParts, prediction: Prediction): Promise<TrainResult> {
  const { recipe, options, checkpoint, store, optimizer, data } = parts;
  const { signal, warn = () => {} } = options;
  const metricsFile = join(recipe.out, "metrics.jsonl");
  const checkpoints = join(recipe.out, "checkpoints");
  const steps = data.steps(recipe);
  const started = performance.now();

  const restored = options.resume ? await restoreState(checkpoints, optimizer, warn) : null;
  let state: TrainingState = restored ?? { step: 0, tokens: 0, position: data.batches().position() };
  const batches = data.batches(state.position);
  await truncateMetrics(metricsFile, state.step);
  options.onPlan?.({ ...prediction, steps, firstStep: state.step });

  const keep = recipe.checkpoint?.keep ?? 1;
  const save = () => saveState(checkpoints, optimizer, state, keep);
  const evaluate = await prepareEvaluation(parts);
  let finalLoss: number | null = null;
  while (state.step < steps) {
    const metrics = await oneStep(parts, () => batches.next(), state, steps);
    finalLoss = metrics.loss;
    state = { step: metrics.step, tokens: metrics.tokens, position: batches.position() };
    await appendMetrics(metricsFile, metrics);
    options.onStep?.(metrics, steps);
    const last = state.step === steps;
    if (recipe.eval && (last || state.step % recipe.eval.every === 0)) {
      const held = { step: state.step, eval: await evaluate() };
      await appendMetrics(metricsFile, held);
      options.onEval?.(held);
    }
    if (last || (recipe.checkpoint && state.step % recipe.checkpoint.every === 0)) await save();
    if (signal?.aborted && !last) {
      await save();
      throw new InterruptedError(`stopped after step ${state.step} of ${steps}; --resume goes on from there`);
    }
  }
  const model = join(recipe.out, "model");
  const names = new Set(optimizer.trainable.map(({ name }) => name));
  const card = `# ${recipe.out}\n\nPost-trained by Slayer from ${recipe.model}: ${steps} steps, ${state.tokens} tokens, ${names.size} trained tensors.\n`;
  await exportModel(checkpoint, store, names, model, card);
  return { model, steps, tokens: state.tokens, finalLoss, seconds: (performance.now() - started) / 1000 };
}

/** One optimizer step: gradients of all micro-batches, weighted by their scored tokens, then AdamW. */
async function oneStep(
  { recipe, checkpoint, program, optimizer, shape }: RunParts,
  nextBatch: () => Batch | null,
  before: TrainingState,
  steps: number,
): Promise<StepMetrics> {
  const started = performance.now();
  const { sequences, micro = sequences } = recipe.batch;
  let nll = 0;
  let scored = 0;
  for (let i = 0; i < sequences / micro; i++) {
    const batch = nextBatch();
    if (!batch) throw new TrainingError("the data ended before the run did");
    const { inputIds, positions, targets, segments: segmentIds } = batch;
    const inputs = forwardInputs(checkpoint.config, inputIds, { ...shape, positions, segmentIds });
    await program.run({ ...inputs, targets });
    nll += (await program.read("loss"))[0]!;
    scored += targets.reduce((n, target) => n + Number(target >= 0), 0);
  }
  const loss = nll / scored;
  const step = before.step + 1;
  if (!Number.isFinite(loss)) {
    throw new TrainingError(
      `the loss of step ${step} is ${loss}; the last checkpoint is unharmed. A lower lr may help`,
    );
  }
  const lr = learningRate(recipe.schedule, recipe.optimizer.lr, before.step, steps);
  const norm = await optimizer.step(before.step, lr, 1 / scored);
  if (!Number.isFinite(norm)) {
    throw new TrainingError(`the gradient norm of step ${step} is ${norm}; the last checkpoint is unharmed`);
  }
  const tokens = sequences * shape.length;
  const seconds = (performance.now() - started) / 1000;
  return {
    step,
    loss,
    lr,
    grad_norm: norm,
    tokens: before.tokens + tokens,
    tokens_per_second: tokens / seconds,
    seconds,
  };
}

/** Tokenizes the held-out files once; the returned function gives each one's nats per token for the weights as they stand. */
async function prepareEvaluation({ recipe, checkpoint, store, tokenizer }: RunParts) {
  const files = await Promise.all(
    (recipe.eval?.perplexity ?? []).map(async (path) => ({ path, ...(await heldOutIds(path, tokenizer)) })),
  );
  return async (): Promise<Record<string, number>> => {
    const losses: Record<string, number> = {};
    for (const { path, ids, bytes } of files) {
      const result = await perplexity(checkpoint.config, store, ids, { sequenceLength: recipe.sequence_length, bytes });
      losses[path] = result.nats_per_token;
    }
    return losses;
  };
}
