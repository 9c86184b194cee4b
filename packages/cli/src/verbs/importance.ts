import { writeFileAtomic } from "@slayer/checkpoint";
import { Pcg32, shuffle } from "@slayer/data";
import { type AngularScores, angularDistances, type SequenceBatch } from "@slayer/importance";
import type { Command } from "commander";
import { Option } from "commander";
import { newVerb, wholeNumber } from "../command.js";
import { NotBuiltError, UserError } from "../errors.js";
import { jsonText, refuseExisting } from "../files.js";
import { addTextOptions, loadModel, type TextOptions, tokenizeFiles, withCheckpoint } from "../model.js";
import type { CommonOptions, Context, Run } from "../run.js";

interface ImportanceOptions extends CommonOptions, TextOptions {
  readonly metric: string;
  readonly token: "last" | "mean";
  readonly sequenceLength?: number;
  readonly sequences: number;
  readonly batch: number;
  readonly out?: string;
  readonly plot?: string;
  readonly overwrite?: true;
}

export function addImportance(program: Command, context: Context): void {
  const summary = "measure how much each block of a model matters on a text";
  const verb = newVerb(program, "importance", summary, [
    "slayer importance model --data text.txt --metric angular --out scores.json --plot scores.html",
  ]).argument("<model>", "a directory in Hugging Face layout, with its tokenizer");
  addTextOptions(verb)
    .addOption(
      new Option(
        "--metric <metric>",
        "angular: distance between the states entering and leaving blocks; the others are not built yet",
      )
        .choices(["angular", "removal", "insertion", "gate"])
        .default("angular"),
    )
    .addOption(new Option("--init <init>", "of inserted blocks, for the insertion metric").choices(["copy", "average"]))
    .addOption(
      new Option("--token <token>", "distances at each sequence's last token, or the mean over all its tokens")
        .choices(["last", "mean"])
        .default("last"),
    )
    .option("--sequence-length <n>", "tokens per sequence (default: 512, or the model's longest)", wholeNumber(1))
    .option("--sequences <n>", "measure this many sequences, drawn at random, at most", wholeNumber(1), 256)
    .option("--batch <n>", "sequences per forward pass", wholeNumber(1), 1)
    .option("--out <file>", "write scores.json")
    .option("--plot <file>", "draw the scores into an HTML page")
    .option("--overwrite", "replace existing outputs")
    .action((model: string, options: ImportanceOptions) =>
      context.run(options, async (run) => {
        if (options.metric !== "angular") throw new NotBuiltError(`--metric ${options.metric}`, "use --metric angular");
        for (const path of [options.out, options.plot]) {
          if (path !== undefined) await refuseExisting(path, options.overwrite ?? false);
        }
        const scores = await measure(run, model, options);
        if (options.out !== undefined) await writeFileAtomic(options.out, jsonText(scores));
        if (options.plot !== undefined) {
          const { reportPage } = await import("../report/page.js");
          const data = { title: `Importance of each block of ${model}`, scores: [{ name: model, scores }] };
          await writeFileAtomic(options.plot, reportPage(data));
        }
        run.print(format(scores));
        return scores;
      }),
    );
}

async function measure(run: Run, model: string, options: ImportanceOptions): Promise<AngularScores> {
  return withCheckpoint(model, async (checkpoint) => {
    const { config } = checkpoint;
    const sequenceLength = options.sequenceLength ?? Math.min(512, config.maxPositionEmbeddings);
    const documents = await tokenizeFiles(run, model, options);
    const all = documents.flatMap(({ ids }) => cut(ids, sequenceLength));
    const sequences = draw(all, options.sequences, run.seed);
    if (sequences.length === 0) throw new UserError("the data hold no tokens; give more text");
    if (sequences.length === 1) run.warn("one sequence only: no confidence intervals; give more text");
    const store = await loadModel(run, checkpoint, await run.backend());
    const { token } = options;
    const { signal, seed } = run;
    return run.progress({ label: "angular distances", total: sequences.length, unit: "sequences" }, (progress) =>
      angularDistances(config, store, batches(sequences, options.batch), {
        token,
        seed: seed % 2 ** 32,
        signal,
        onProgress: (done) => progress.update(done),
      }),
    );
  });
}

/** Pieces of `length` that do not overlap. A rest is left out, unless it is the whole document. */
function cut(ids: Int32Array, length: number): Int32Array[] {
  if (ids.length <= length) return ids.length === 0 ? [] : [ids];
  return Array.from({ length: Math.floor(ids.length / length) }, (_, i) => ids.subarray(i * length, (i + 1) * length));
}

/** At most `most` of the sequences, all equally likely, in their order. */
function draw(sequences: readonly Int32Array[], most: number, seed: number): Int32Array[] {
  const order = shuffle(Int32Array.from(sequences.keys()), new Pcg32(seed, 0));
  return Array.from(order.subarray(0, most).sort(), (i) => sequences[i]!);
}

/** Sequences of one length in a row, up to `size` together. */
function* batches(sequences: readonly Int32Array[], size: number): Generator<SequenceBatch> {
  for (let first = 0; first < sequences.length;) {
    const { length } = sequences[first]!;
    let count = 1;
    while (count < size && sequences[first + count]?.length === length) count++;
    const ids = new Int32Array(count * length);
    for (let b = 0; b < count; b++) ids.set(sequences[first + b]!, b * length);
    yield { ids, batch: count, length };
    first += count;
  }
}

function format({ blocks, runs, samples, token, unit, interval }: AngularScores): string {
  const per = unit === "pi" ? "in units of π" : "in radians";
  const cell = (value: number | null): string => (value === null ? "–" : value.toFixed(4)).padStart(8);
  const percent = `${Math.round(100 * interval.confidence)} %`;
  return [
    `angular distance of each block's states, ${per}, token ${token}, ${samples} sequences`,
    `block  distance   ${percent} interval`,
    ...blocks.map(
      ({ block, value, low, high }) => `${String(block).padStart(5)}  ${cell(value)}  ${cell(low)} …${cell(high)}`,
    ),
    "",
    "least changed by removing",
    ...runs.slice(0, Math.min(8, blocks.length - 1)).map(({ n, start, value }) => {
      const which = n === 1 ? `block ${start}` : `blocks ${start}-${start + n - 1}`;
      return `${String(n).padStart(5)}  ${cell(value)}  ${which}`;
    }),
  ].join("\n");
}
