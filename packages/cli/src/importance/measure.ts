import { freemem } from "node:os";
import { type Checkpoint, type FloatDtype, isFloatDtype, type ModelConfig } from "@slayer/checkpoint";
import {
  angularDistances,
  blockDrops,
  type Change,
  type ChoiceItem,
  type DropUnit,
  gateGradients,
  type Scores,
  type SequenceBatch,
  sweepEvaluations,
} from "@slayer/importance";
import type { Backend, Store } from "@slayer/tensor";
import { UserError } from "../errors.js";
import { loadModel, type TextOptions, tokenizeFiles } from "../model.js";
import type { Run } from "../run.js";
import { cut, draw, itemBatches, readItems, sequenceBatches } from "./data.js";
import { fingerprintOfData, fingerprintOfModel, Resumption } from "./resume.js";

/** What is to be measured, and on what. */
export interface MeasureRequest extends TextOptions {
  readonly metric: Scores["metric"];
  readonly init?: "copy" | "average";
  readonly score?: DropUnit;
  readonly stream?: true;
  readonly untilDecided?: number | true;
  readonly least?: number;
  readonly token?: "last" | "mean";
  readonly unit?: "pi" | "radians";
  readonly final?: "raw" | "normed";
  readonly sequenceLength?: number;
  readonly sequences: number;
  readonly batch: number;
  /** Where the scores go; beside it lies what an interrupted measurement leaves. */
  readonly out?: string;
  readonly overwrite?: true;
}

export const DEFAULT_LEVEL = 0.95;

/** Host memory for states that wait for the weights of the next block. */
const STATE_BYTES = 2 ** 28;
/** Batches that go through a block together: with weights at hand little is saved by more, and interrupting loses them. */
const [MOST_TOGETHER, MOST_STREAMED] = [16, 64];
/** With --until-decided, what goes together is no more than the first look needs. */
const FIRST_LOOK = 16;

/** The scores; `done` removes what the measurement left to go on from, once they are written. */
export async function measure(
  run: Run,
  model: string,
  checkpoint: Checkpoint,
  options: MeasureRequest,
): Promise<{ readonly scores: Scores; done(): Promise<void> }> {
  checkpoint.validate();
  const samples = await readSamples(run, model, checkpoint.config, options);
  const backend = await run.backend();
  const { metric, init, score, token, unit, final, batch } = options;
  const resumption = await Resumption.open(options.out, options.overwrite ?? false, {
    ...{ metric, init, score, token, unit, final, batch },
    backend: backend.name,
    model: await fingerprintOfModel(checkpoint),
    data: fingerprintOfData(samples.of),
  });
  const weights = options.stream
    ? { backend, read: (name: string) => checkpoint.readF32(name) }
    : await loadModel(run, checkpoint, backend);
  const work = { run, checkpoint, weights, options, resumption };
  const scores = await resumption.run(run, () =>
    metric === "removal" || metric === "insertion" ? measureDrops(work, samples) : measureStates(work, samples),
  );
  if (scores.samples === 1) run.warn("one sample only: no confidence intervals; give more data");
  return { scores, done: () => resumption.done() };
}

type Samples =
  | { readonly kind: "sequences"; readonly of: readonly Int32Array[] }
  | { readonly kind: "items"; readonly of: readonly ChoiceItem[] };

interface Work {
  readonly run: Run;
  readonly checkpoint: Checkpoint;
  readonly weights: Store | { readonly backend: Backend; read(name: string): Promise<Float32Array> };
  readonly options: MeasureRequest;
  readonly resumption: Resumption;
}

/** What all measurements are asked for. */
function common({ run, options, resumption }: Work) {
  const { untilDecided, least } = options;
  const level = untilDecided === true ? DEFAULT_LEVEL : untilDecided;
  return {
    ...(level === undefined ? {} : { untilSettled: { level, ...(least === undefined ? {} : { least }) } }),
    ...(resumption.before ? { measured: resumption.before } : {}),
    onMeasured: resumption.note,
    seed: run.seed % 2 ** 32, // the bootstrap's seed has 32 bits
    signal: run.signal,
  };
}

function measureStates(work: Work, { of }: Samples): Promise<Scores> {
  const { run, checkpoint, weights, options, resumption } = work;
  const { config } = checkpoint;
  const batches = sequenceBatches(of as readonly Int32Array[], options.batch);
  const before = resumption.before?.counts.length ?? 0;
  const label = options.metric === "gate" ? "gate gradients" : "angular distances";
  return run.progress<Scores>({ label, total: of.length - before, unit: "sequences" }, (progress) => {
    const hooks = { ...common(work), onProgress: (done: number) => progress.update(done - before) };
    if (options.metric === "gate") return gateGradients(config, weights as Store, batches, hooks);
    const { token = "last", unit = "pi", final = "raw" } = options;
    // All L + 1 states of every token wait, or the states of the last ones and one of every token.
    const statesEach = token === "mean" ? config.blocks + 1 : 2;
    const together = batchesTogether(config, batches, statesEach, options);
    return angularDistances(config, weights, batches, {
      ...{ token, unit, final, together },
      storedAs: storedAs(checkpoint),
      ...hooks,
    });
  });
}

async function measureDrops(work: Work, samples: Samples): Promise<Scores> {
  const { run, checkpoint, weights, options, resumption } = work;
  const { config } = checkpoint;
  const { metric, init = "average", score = "loss", batch } = options;
  const data =
    samples.kind === "sequences"
      ? { unit: "loss" as const, batches: sequenceBatches(samples.of, batch) }
      : { unit: score as "likelihood" | "accuracy", batches: itemBatches(samples.of, batch) };
  const change: Change = metric === "removal" ? "removal" : init;
  const evaluations = sweepEvaluations(config.blocks, [change]);
  const left = data.batches.length - Math.floor((resumption.before?.counts.length ?? 0) / batch);
  const [scores] = await run.progress({ label: metric, total: left * evaluations, unit: "blocks" }, (progress) =>
    blockDrops(config, weights, data, [change], {
      storedAs: storedAs(checkpoint),
      together: batchesTogether(config, data.batches, config.blocks + 1, options),
      ...common(work),
      onProgress: (done) => progress.update(done),
    }),
  );
  return scores!;
}

function storedAs(checkpoint: Checkpoint): (name: string) => FloatDtype {
  return (name) => {
    const { dtype } = checkpoint.info(name);
    return isFloatDtype(dtype) ? dtype : "F32";
  };
}

/**
 * How many batches go through a block while its weights are on the device: as many as a quarter of the memory takes where
 * weights must be read again for every such group, fewer where only a little work is saved.
 */
function batchesTogether(
  { hiddenSize }: ModelConfig,
  batches: readonly (SequenceBatch | readonly ChoiceItem[])[],
  statesEach: number,
  { stream, untilDecided, batch }: MeasureRequest,
): number {
  const tokens = batches.reduce((most, one) => Math.max(most, "ids" in one ? one.ids.length : tokensOf(one)), 1);
  const budget = stream ? Math.max(STATE_BYTES, freemem() / 4) : STATE_BYTES;
  const fit = Math.max(1, Math.floor(budget / (4 * hiddenSize * tokens * statesEach)));
  const most = Math.min(fit, stream ? MOST_STREAMED : MOST_TOGETHER);
  return untilDecided === undefined ? most : Math.min(most, Math.ceil(FIRST_LOOK / batch));
}

/** Of the rows that items become, padding included. */
function tokensOf(items: readonly ChoiceItem[]): number {
  const rows = items.flatMap(({ context, choices }) => choices.map(({ ids }) => context.length + ids.length));
  return rows.length * rows.reduce((most, length) => Math.max(most, length), 0);
}

async function readSamples(run: Run, model: string, config: ModelConfig, options: MeasureRequest): Promise<Samples> {
  const { metric, score = "loss", data, sequences, sequenceLength } = options;
  if (score !== "loss") {
    const all = await readItems(model, data, sequenceLength ?? config.maxPositionEmbeddings);
    if (all.length === 0) throw new UserError(`${data.join(", ")}: expected items, found none`);
    return { kind: "items", of: draw(all, sequences, run.seed, "drawn") };
  }
  const shortest = metric === "angular" ? 1 : 2;
  const length = sequenceLength ?? Math.min(512, config.maxPositionEmbeddings);
  if (length < shortest) {
    throw new UserError(`--sequence-length must be at least ${shortest}: a loss needs a next token`);
  }
  const documents = await tokenizeFiles(run, model, options);
  const all = documents.flatMap(({ ids }) => cut(ids, length)).filter((ids) => ids.length >= shortest);
  // What stops early must not have measured the beginning of the text alone.
  const order = options.untilDecided === undefined ? "sorted" : "drawn";
  if (all.length === 0) throw new UserError(`the data hold no sequence of ${shortest} tokens; give more text`);
  return { kind: "sequences", of: draw(all, sequences, run.seed, order) };
}
