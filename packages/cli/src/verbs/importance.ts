import { type Checkpoint, isFloatDtype, writeFileAtomic } from "@slayer/checkpoint";
import {
  angularDistances,
  blockDrops,
  type Change,
  type DropData,
  type DropUnit,
  gateGradients,
  type Scores,
  sweepEvaluations,
} from "@slayer/importance";
import type { Command } from "commander";
import { Option } from "commander";
import { newVerb, numberIn, wholeNumber } from "../command.js";
import { UserError } from "../errors.js";
import { jsonText, refuseExisting } from "../files.js";
import { cut, draw, itemBatches, readItems, sequenceBatches } from "../importance/data.js";
import { formatScores } from "../importance/format.js";
import { addTextOptions, loadModel, type TextOptions, tokenizeFiles, withCheckpoint } from "../model.js";
import type { CommonOptions, Context, Run } from "../run.js";

interface ImportanceOptions extends CommonOptions, TextOptions {
  readonly metric: Scores["metric"];
  readonly init?: "copy" | "average";
  readonly score?: DropUnit;
  readonly stream?: true;
  readonly untilDecided?: number | true;
  readonly least?: number;
  readonly token: "last" | "mean";
  readonly sequenceLength?: number;
  readonly sequences: number;
  readonly batch: number;
  readonly out?: string;
  readonly plot?: string;
  readonly overwrite?: true;
}

const DEFAULT_LEVEL = 0.95;

export function addImportance(program: Command, context: Context): void {
  const summary = "measure how much each block of a model matters on a text";
  const verb = newVerb(program, "importance", summary, [
    "slayer importance model --data text.txt --metric angular --out scores.json --plot scores.html",
    "slayer importance model --data text.txt --metric removal --sequence-length 64 --out removal.json",
    "slayer importance model --data text.txt --metric insertion --init copy --sequence-length 64 --stream",
    "slayer importance model --data text.txt --metric gate --sequence-length 64 --plot gate.html",
  ]).argument("<model>", "a directory in Hugging Face layout, with its tokenizer");
  addTextOptions(verb)
    .addOption(
      new Option(
        "--metric <metric>",
        "angular: distance between the states entering and leaving blocks; removal, insertion: how much worse the " +
          "model does without the block, or with one more after it; gate: gradient of the loss with respect to the " +
          "block's share",
      )
        .choices(["angular", "removal", "insertion", "gate"])
        .default("angular"),
    )
    .addOption(
      new Option(
        "--init <init>",
        "of inserted blocks: a copy of the block before, or its average with the next (default: average)",
      ).choices(["copy", "average"]),
    )
    .addOption(
      new Option(
        "--score <score>",
        "what drops after removal or insertion: loss on text; likelihood of the right choice, or accuracy, on items: " +
          "then the data are JSONL lines with context, choices and answer (an index from 0) (default: loss)",
      ).choices(["loss", "likelihood", "accuracy"]),
    )
    .option("--stream", "removal, insertion: one block's weights in device memory at a time")
    .option(
      "--until-decided [level]",
      `removal, insertion: stop when the ranking of the blocks has settled (default level: ${DEFAULT_LEVEL})`,
      numberIn(0.5, 0.9999),
    )
    .option("--least <k>", "with --until-decided: settle only which k blocks matter least", wholeNumber(1))
    .addOption(
      new Option("--token <token>", "distances at each sequence's last token, or the mean over all its tokens")
        .choices(["last", "mean"])
        .default("last"),
    )
    .option(
      "--sequence-length <n>",
      "tokens per sequence (default: 512, or the model's longest; for items the model's longest)",
      wholeNumber(1),
    )
    .option("--sequences <n>", "measure this many sequences or items, drawn at random, at most", wholeNumber(1), 256)
    .option("--batch <n>", "sequences or items per forward pass", wholeNumber(1), 1)
    .option("--out <file>", "write scores.json")
    .option("--plot <file>", "draw the scores into an HTML page")
    .option("--overwrite", "replace existing outputs")
    .action((model: string, options: ImportanceOptions) =>
      context.run(options, async (run) => {
        checkOptions(options);
        for (const path of [options.out, options.plot]) {
          if (path !== undefined) await refuseExisting(path, options.overwrite ?? false);
        }
        const scores = await withCheckpoint(model, (checkpoint) => measure(run, model, checkpoint, options));
        if (options.out !== undefined) await writeFileAtomic(options.out, jsonText(scores));
        if (options.plot !== undefined) {
          const { reportPage } = await import("../report/page.js");
          const data = { title: `Importance of each block of ${model}`, scores: [{ name: model, scores }] };
          await writeFileAtomic(options.plot, reportPage(data));
        }
        run.print(formatScores(scores));
        return scores;
      }),
    );
}

/** Options that would do nothing with the metric are mistakes. */
function checkOptions({ metric, init, score, stream, untilDecided, least }: ImportanceOptions): void {
  const drops = metric === "removal" || metric === "insertion";
  if (init !== undefined && metric !== "insertion") {
    throw new UserError(`--init is of inserted blocks; use it with --metric insertion, not ${metric}`);
  }
  for (const [name, value] of Object.entries({ score, stream, "until-decided": untilDecided })) {
    if (value !== undefined && !drops) {
      throw new UserError(`--${name} goes with --metric removal or insertion, not ${metric}`);
    }
  }
  if (least !== undefined && untilDecided === undefined) throw new UserError("--least goes with --until-decided");
}

async function measure(run: Run, model: string, checkpoint: Checkpoint, options: ImportanceOptions): Promise<Scores> {
  const { metric, score = "loss" } = options;
  if (metric === "removal" || metric === "insertion") {
    const data =
      score === "loss"
        ? await lossData(run, model, checkpoint, options)
        : await itemData(run, model, checkpoint, score, options);
    return measureDrops(run, checkpoint, data, options);
  }
  const sequences = await readSequences(run, model, checkpoint, options, metric === "gate" ? 2 : 1);
  const store = await loadModel(run, checkpoint, await run.backend());
  const batches = sequenceBatches(sequences, options.batch);
  const { token } = options;
  const label = metric === "gate" ? "gate gradients" : "angular distances";
  return run.progress<Scores>({ label, total: sequences.length, unit: "sequences" }, (progress) => {
    const hooks = { seed: seedOf(run), signal: run.signal, onProgress: (done: number) => progress.update(done) };
    return metric === "gate"
      ? gateGradients(checkpoint.config, store, batches, hooks)
      : angularDistances(checkpoint.config, store, batches, { token, ...hooks });
  });
}

/** The bootstrap's seed has 32 bits. */
const seedOf = (run: Run): number => run.seed % 2 ** 32;

type CountedData = DropData & { readonly count: number };

async function lossData(
  run: Run,
  model: string,
  checkpoint: Checkpoint,
  options: ImportanceOptions,
): Promise<CountedData> {
  const batches = sequenceBatches(await readSequences(run, model, checkpoint, options, 2), options.batch);
  return { unit: "loss", batches, count: batches.length };
}

async function itemData(
  run: Run,
  model: string,
  { config }: Checkpoint,
  unit: "likelihood" | "accuracy",
  { data, sequences, sequenceLength, batch }: ImportanceOptions,
): Promise<CountedData> {
  const all = await readItems(model, data, sequenceLength ?? config.maxPositionEmbeddings);
  if (all.length === 0) throw new UserError(`${data.join(", ")}: expected items, found none`);
  const batches = itemBatches(draw(all, sequences, run.seed, "drawn"), batch);
  return { unit, batches, count: batches.length };
}

async function measureDrops(
  run: Run,
  checkpoint: Checkpoint,
  data: CountedData,
  { metric, init = "average", stream, untilDecided, least }: ImportanceOptions,
): Promise<Scores> {
  const { config } = checkpoint;
  const change: Change = metric === "removal" ? "removal" : init;
  const backend = await run.backend();
  checkpoint.validate();
  const weights = stream
    ? { backend, read: (name: string) => checkpoint.readF32(name) }
    : await loadModel(run, checkpoint, backend);
  const storedAs = (name: string) => {
    const { dtype } = checkpoint.info(name);
    return isFloatDtype(dtype) ? dtype : "F32";
  };
  const level = untilDecided === true ? DEFAULT_LEVEL : untilDecided;
  const total = data.count * sweepEvaluations(config.blocks, [change]);
  const [scores] = await run.progress({ label: metric, total, unit: "blocks" }, (progress) =>
    blockDrops(config, weights, data, [change], {
      storedAs,
      ...(level === undefined ? {} : { untilSettled: { level, ...(least === undefined ? {} : { least }) } }),
      seed: seedOf(run),
      signal: run.signal,
      onProgress: (done) => progress.update(done),
    }),
  );
  if (scores!.samples === 1) run.warn("one sample only: no confidence intervals; give more data");
  return scores!;
}

async function readSequences(
  run: Run,
  model: string,
  { config }: Checkpoint,
  options: ImportanceOptions,
  shortest: number,
): Promise<Int32Array[]> {
  const sequenceLength = options.sequenceLength ?? Math.min(512, config.maxPositionEmbeddings);
  if (sequenceLength < shortest)
    throw new UserError(`--sequence-length must be at least ${shortest}: a loss needs a next token`);
  const documents = await tokenizeFiles(run, model, options);
  const all = documents.flatMap(({ ids }) => cut(ids, sequenceLength)).filter(({ length }) => length >= shortest);
  // What stops early must not have measured the beginning of the text alone.
  const sequences = draw(all, options.sequences, run.seed, options.untilDecided === undefined ? "sorted" : "drawn");
  if (sequences.length === 0) throw new UserError(`the data hold no sequence of ${shortest} tokens; give more text`);
  if (sequences.length === 1 && options.metric !== "removal" && options.metric !== "insertion") {
    run.warn("one sequence only: no confidence intervals; give more text");
  }
  return sequences;
}
