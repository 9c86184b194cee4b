import { writeFileAtomic } from "@slayer/checkpoint";
import type { Command } from "commander";
import { Option } from "commander";
import { newVerb, numberIn, wholeNumber } from "../command.js";
import { UserError } from "../errors.js";
import { jsonText, refuseExisting } from "../files.js";
import { formatScores } from "../importance/format.js";
import { DEFAULT_LEVEL, measure, type MeasureRequest } from "../importance/measure.js";
import { addTextOptions, withCheckpoint } from "../model.js";
import { checkPicture, writePicture } from "../report/picture.js";
import type { CommonOptions, Context } from "../run.js";

interface ImportanceOptions extends CommonOptions, MeasureRequest {
  readonly out?: string;
  readonly plot?: string;
  readonly overwrite?: true;
}

export function addImportance(program: Command, context: Context): void {
  const summary = "measure how much each block of a model matters on a text";
  const verb = newVerb(program, "importance", summary, [
    "slayer importance model --data text.txt --metric angular --out scores.json --plot scores.html",
    "slayer importance model --data text.txt --metric removal --sequence-length 64 --out removal.json",
    "slayer importance model --data text.txt --metric insertion --init copy --sequence-length 64 --stream",
    "slayer importance model --data text.txt --metric gate --sequence-length 64 --plot gate.svg",
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
    .option("--stream", "angular, removal, insertion: one block's weights in device memory at a time")
    .option(
      "--until-decided [level]",
      `stop when the ranking of the blocks has settled (default level: ${DEFAULT_LEVEL})`,
      numberIn(0.5, 0.9999),
    )
    .option("--least <k>", "with --until-decided: settle only which k blocks matter least", wholeNumber(1))
    .addOption(
      new Option(
        "--token <token>",
        "angular: at each sequence's last token, or the mean over all its tokens (default: last)",
      ).choices(["last", "mean"]),
    )
    .addOption(
      new Option("--unit <unit>", "angular: distances in units of π, or in radians (default: pi)").choices([
        "pi",
        "radians",
      ]),
    )
    .addOption(
      new Option(
        "--final <state>",
        "angular: what leaves the last block, raw or after the final norm, which makes that block look important " +
          "(default: raw)",
      ).choices(["raw", "normed"]),
    )
    .option(
      "--sequence-length <n>",
      "tokens per sequence (default: 512, or the model's longest; for items the model's longest)",
      wholeNumber(1),
    )
    .option("--sequences <n>", "measure this many sequences or items, drawn at random, at most", wholeNumber(1), 256)
    .option("--batch <n>", "sequences or items per forward pass", wholeNumber(1), 1)
    .option("--out <file>", "write scores.json; interrupted, the same command goes on where it stopped")
    .option("--plot <file>", "draw the scores: an HTML page (.html) or a picture (.svg)")
    .option("--overwrite", "replace existing outputs")
    .action((model: string, options: ImportanceOptions) =>
      context.run(options, async (run) => {
        checkOptions(options);
        const { out, plot, overwrite = false } = options;
        for (const path of [out, plot]) if (path !== undefined) await refuseExisting(path, overwrite);
        if (plot !== undefined) checkPicture(plot);
        const measured = await withCheckpoint(model, (checkpoint) => measure(run, model, checkpoint, options));
        const { scores } = measured;
        if (out !== undefined) await writeFileAtomic(out, jsonText(scores));
        if (plot !== undefined) {
          await writePicture(plot, {
            title: `Importance of each block of ${model}`,
            scores: [{ name: model, scores }],
          });
        }
        await measured.done();
        run.print(formatScores(scores));
        return scores;
      }),
    );
}

/** Options that would do nothing with the metric are mistakes. */
function checkOptions(options: ImportanceOptions): void {
  const { metric, init, score, stream, untilDecided, least, token, unit, final } = options;
  const drops = metric === "removal" || metric === "insertion";
  if (init !== undefined && metric !== "insertion") {
    throw new UserError(`--init is of inserted blocks; use it with --metric insertion, not ${metric}`);
  }
  if (score !== undefined && !drops) {
    throw new UserError(`--score goes with --metric removal or insertion, not ${metric}`);
  }
  for (const [name, value] of Object.entries({ token, unit, final })) {
    if (value !== undefined && metric !== "angular") {
      throw new UserError(`--${name} goes with --metric angular, not ${metric}`);
    }
  }
  if (stream && metric === "gate") {
    throw new UserError("--stream goes with --metric angular, removal or insertion; gate needs a backward pass");
  }
  if (least !== undefined && untilDecided === undefined) throw new UserError("--least goes with --until-decided");
}
