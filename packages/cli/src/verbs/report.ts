import { stat } from "node:fs/promises";
import { extname, join } from "node:path";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { UserError } from "../errors.js";
import { refuseExisting } from "../files.js";
import type { ReportData } from "../report/data.js";
import { checkPicture, writePicture } from "../report/picture.js";
import type { CommonOptions, Context } from "../run.js";

interface ReportOptions extends CommonOptions {
  readonly out: string;
  readonly title: string;
  readonly compare?: string;
  readonly overwrite?: true;
}

export function addReport(program: Command, context: Context): void {
  const summary =
    "put importance scores, surgeries, training runs, ranks and results on one HTML page that needs nothing else";
  newVerb(program, "report", summary, ["slayer report scores.json plan.json expanded --out report.html"])
    .argument(
      "<run...>",
      "files, or directories that hold them: scores.json, plan.json, provenance.json, metrics.jsonl, adapter_config.json, quickstart.json",
    )
    .requiredOption(
      "--out <file>",
      "the page (.html), or a picture of importance scores and of AdaLoRA's ranks alone (.svg)",
    )
    .option("--title <text>", "of the page", "Slayer report")
    .option(
      "--compare <run>",
      "a training run (its directory or metrics.jsonl) that the others' losses are held against",
    )
    .option("--overwrite", "replace an existing page")
    .action((paths: string[], options: ReportOptions) =>
      context.run(options, async (run) => {
        const { out, title, compare, overwrite = false } = options;
        const format = checkPicture(out);
        await refuseExisting(out, overwrite);
        // The chart library takes a while to load; no other verb needs it.
        const { readReportInputs } = await import("../report/inputs.js");
        const inputs = await readReportInputs(compare === undefined ? paths : [await metricsOf(compare), ...paths]);
        if (compare !== undefined) checkCompared(compare, inputs.runs);
        if (inputs.files.length === 0) {
          const known =
            "scores.json, plan.json, provenance.json, metrics.jsonl, adapter_config.json of AdaLoRA or quickstart.json";
          throw new UserError(`${paths.join(", ")}: expected ${known}, found none of them`);
        }
        for (const file of inputs.files) run.log(`read ${file}`);
        if (format === "svg" && inputs.scores.length + inputs.ranks.length === 0) {
          throw new UserError(
            `${out}: a picture shows importance scores and ranks, found none; write a page (.html) instead`,
          );
        }
        await writePicture(out, { title, compare: compare !== undefined, ...inputs });
        run.print(`${out}: ${inputs.files.length} files ${format === "html" ? "on one page" : "in one picture"}`);
        return { out, files: inputs.files };
      }),
    );
}

async function metricsOf(run: string): Promise<string> {
  const file = (await stat(run)).isDirectory() ? join(run, "metrics.jsonl") : run;
  if (extname(file) !== ".jsonl") throw new UserError(`--compare ${run}: expected a training run's metrics.jsonl`);
  return file;
}

/** The run to compare with comes first. */
function checkCompared(compare: string, [first, ...others]: NonNullable<ReportData["runs"]>): void {
  if (first!.steps.length === 0) throw new UserError(`--compare ${compare}: expected optimizer steps, found none`);
  if (others.every(({ steps }) => steps.length === 0)) {
    throw new UserError(`--compare ${compare}: expected another training run to compare with it, found none`);
  }
}
