import { join } from "node:path";
import { DataError, type Tokenizer } from "@slayer/data";
import { LossWatch, saveAnomaly } from "./anomaly.js";
import { InterruptedError, RecipeError, TrainingError } from "./errors.js";
import type { Evaluate } from "./evaluation.js";
import { exportResult } from "./export-result.js";
import { fingerprint } from "./fingerprint.js";
import { type EvalMetrics, type Metrics, readMetrics, type SkippedStep, type StepMetrics } from "./metrics.js";
import type { OpenModel } from "./model.js";
import { accumulateStep, applyStep, type Gradients } from "./one-step.js";
import type { Prediction } from "./predict.js";
import type { RankAllocator } from "./rank-allocator.js";
import type { Recipe } from "./recipe.js";
import { RunLog } from "./run-log.js";
import { CheckpointSaver } from "./saver.js";
import type { Setup } from "./setup.js";
import { restoreState, type TrainingState } from "./state.js";
import type { DataOptions, SourceSummary, TrainingData } from "./training-data.js";

export interface TrainOptions extends DataOptions {
  /** Go on from the newest checkpoint in the run's directory. */
  resume?: boolean;
  /** Replace an existing run. */
  overwrite?: boolean;
  /** Measure the device for a moment, to predict the time of a step and to count MFU. */
  measure?: boolean;
  /** After it is aborted the current step is finished, the state saved, and the call rejects with InterruptedError. */
  signal?: AbortSignal;
  /** From openData; else it is opened here. Closed at the end in any case. */
  data?: TrainingData;
  /** When all data is tokenized. */
  onData?: (sources: SourceSummary[]) => void;
  onPlan?: (prediction: Prediction & { steps: number; firstStep: number }) => void;
  /** Training waits for a promise. */
  onStep?: (metrics: StepMetrics, steps: number) => unknown;
  onEval?: (metrics: EvalMetrics) => void;
  warn?: (message: string) => void;
}

export interface TrainResult {
  /** The directory of what was trained: a model in Hugging Face layout, or as the recipe says an adapter or a delta. */
  model: string;
  steps: number;
  /** Steps done before this call, in a run that was resumed. `seconds` and what is measured do not count them. */
  firstStep: number;
  /** Steps that made no update. */
  skipped: number;
  tokens: number;
  finalLoss: number | null;
  seconds: number;
  /** What was read of the data, with the epochs of each source. */
  data: SourceSummary[];
  predicted: Prediction;
  measured: Measured;
}

/** What a run took, to be held against what was predicted. */
export interface Measured {
  /** Median of the steps, null if there was none. */
  secondsPerStep: number | null;
  /** The most that was allocated on the device, bytes. */
  memory: number;
  /** The most memory that the process held, bytes. */
  processMemory: number;
}

/** Everything a run consists of, ready. */
export interface RunParts {
  readonly recipe: Recipe;
  readonly options: TrainOptions;
  readonly model: OpenModel;
  readonly setup: Setup;
  /** AdaLoRA's. */
  readonly allocator: RankAllocator | undefined;
  readonly tokenizer: Tokenizer;
  readonly data: TrainingData;
  readonly prediction: Prediction;
  /** Losses of held-out text for the weights as they stand. */
  readonly evaluate: Evaluate;
  /** Bytes allocated on the device so far, at most. */
  readonly peakMemory: () => number;
}

/** In a row: then the run has lost its way and stops whatever the recipe says. */
const MOST_SKIPPED = 10;

/** Steps from where the run stands to its end; saves, evaluates, and exports the model. */
export async function runLoop(parts: RunParts): Promise<TrainResult> {
  const { recipe, options, setup, data, prediction, evaluate } = parts;
  const { signal, warn = () => {} } = options;
  const checkpoints = join(recipe.out, "checkpoints");
  const steps = data.steps(recipe);
  const started = performance.now();

  const restored = options.resume ? await restoreState(checkpoints, setup.optimizer, warn) : null;
  const model = await fingerprint(parts.model.checkpoint);
  if (restored?.model !== undefined && restored.model !== model) {
    throw new RecipeError(
      `${recipe.model} is not the model that this run was started from; put that one back, or begin anew with --overwrite`,
    );
  }
  const batches = await data.batches(restored?.position);
  const firstStep = restored?.step ?? 0;
  let state: TrainingState = {
    skipped: 0,
    tokens: 0,
    position: batches.position(),
    ...restored,
    step: firstStep,
    model,
  };
  options.onData?.(data.summary(batches));
  const log = await RunLog.open(recipe.out, state.step);
  const before = await readMetrics(join(recipe.out, "metrics.jsonl"));
  const watch = new LossWatch(recipe.anomalies.loss_rise, before.flatMap(lossOf));
  const saver = new CheckpointSaver(checkpoints, setup.optimizer, recipe.checkpoint?.keep ?? 1, warn);
  options.onPlan?.({ ...prediction, steps, firstStep });

  const seconds: number[] = [];
  let finalLoss = before.flatMap(lossOf).at(-1) ?? null;
  let skippedInARow = 0;
  try {
    while (state.step < steps) {
      const gradients = await accumulateStep(parts, () => batches.next()).catch(async (error: unknown) => {
        // Data that is streamed may turn out bad at any time; what is trained by then is kept.
        if (error instanceof DataError && state.step > 0) await saver.saveNow(state);
        throw error;
      });
      const problem = problemOf(gradients, watch);
      const tokens = state.tokens + recipe.batch.sequences * recipe.sequence_length;
      if (problem === null) {
        const metrics = await applyStep(parts, gradients, state, steps);
        watch.add(metrics.loss);
        finalLoss = metrics.loss;
        seconds.push(metrics.seconds);
        state = { ...state, step: metrics.step, tokens, position: batches.position() };
        await log.add(metrics);
        await options.onStep?.(metrics, steps);
        skippedInARow = 0;
      } else {
        const skipped = await skip(parts, gradients, problem, state, tokens, ++skippedInARow, saver);
        state = { ...state, step: skipped.step, skipped: state.skipped + 1, tokens, position: batches.position() };
        await log.add(skipped);
      }
      const last = state.step === steps;
      if (recipe.eval && (last || state.step % recipe.eval.every === 0)) {
        const held = { step: state.step, eval: await evaluate() };
        await log.add(held);
        options.onEval?.(held);
      }
      if (signal?.aborted && !last) {
        await saver.saveNow(state);
        throw new InterruptedError(`stopped after step ${state.step} of ${steps}; --resume goes on from there`);
      }
      if (!last && recipe.checkpoint && state.step % recipe.checkpoint.every === 0) await saver.save(state);
    }
    await saver.saveNow(state);
  } finally {
    await saver.settled();
  }
  const out = await exportResult(parts, steps, state.tokens);
  const measured = {
    secondsPerStep: seconds.toSorted((a, b) => a - b)[seconds.length >> 1] ?? null,
    memory: parts.peakMemory(),
    processMemory: process.resourceUsage().maxRSS * 1024,
  };
  const { skipped, tokens } = state;
  const elapsed = (performance.now() - started) / 1000;
  const result = {
    model: out,
    steps,
    firstStep,
    skipped,
    tokens,
    finalLoss,
    seconds: elapsed,
    data: data.summary(batches),
  };
  await log.finish({ ...result, predicted: prediction, measured });
  return { ...result, predicted: prediction, measured };
}

const lossOf = (line: Metrics): number[] => ("loss" in line ? [line.loss] : []);

function problemOf({ loss, norm }: Gradients, watch: LossWatch): string | null {
  return watch.problem(loss) ?? (Number.isFinite(norm) ? null : `the gradient norm is ${norm}`);
}

/** Saves the batch of a step that went wrong; then forgets its gradients, or stops the run as the recipe says. */
async function skip(
  { recipe, setup, options }: RunParts,
  { seen, norm }: Gradients,
  problem: string,
  state: TrainingState,
  tokens: number,
  inARow: number,
  saver: CheckpointSaver,
): Promise<SkippedStep> {
  const step = state.step + 1;
  const file = await saveAnomaly(join(recipe.out, "anomalies"), step, problem, norm, seen);
  if (recipe.anomalies.action === "stop" || inARow > MOST_SKIPPED) {
    if (state.step > 0) await saver.saveNow(state);
    const row = inARow > MOST_SKIPPED ? `, the ${inARow}th in a row` : "";
    throw new TrainingError(
      `step ${step}: ${problem}${row}; its batch is in ${file}, and the state before it is saved. ` +
        "A lower lr may help; anomalies.action: skip leaves such steps out",
    );
  }
  options.warn?.(`step ${step} is left out: ${problem}; its batch is in ${file}`);
  await setup.optimizer.discard();
  return { step, skipped: problem, tokens };
}
