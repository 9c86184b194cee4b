import { writeFileAtomic } from "@slayer/checkpoint";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { UserError } from "../errors.js";
import { refuseExisting } from "../files.js";
import type { CommonOptions, Context } from "../run.js";

interface ReportOptions extends CommonOptions {
  readonly out: string;
  readonly title: string;
  readonly overwrite?: true;
}

export function addReport(program: Command, context: Context): void {
  const summary =
    "put importance scores, surgeries, training runs and results on one HTML page that needs nothing else";
  newVerb(program, "report", summary, ["slayer report scores.json plan.json expanded --out report.html"])
    .argument(
      "<run...>",
      "files, or directories that hold them: scores.json, plan.json, provenance.json, metrics.jsonl, quickstart.json",
    )
    .requiredOption("--out <file>", "the page")
    .option("--title <text>", "of the page", "Slayer report")
    .option("--overwrite", "replace an existing page")
    .action((paths: string[], options: ReportOptions) =>
      context.run(options, async (run) => {
        const { out, title, overwrite = false } = options;
        await refuseExisting(out, overwrite);
        // The chart library takes a while to load; no other verb needs it.
        const { readReportInputs } = await import("../report/inputs.js");
        const { reportPage } = await import("../report/page.js");
        const inputs = await readReportInputs(paths);
        if (inputs.files.length === 0) {
          const known = "scores.json, plan.json, provenance.json, metrics.jsonl or quickstart.json";
          throw new UserError(`${paths.join(", ")}: expected ${known}, found none of them`);
        }
        for (const file of inputs.files) run.log(`read ${file}`);
        await writeFileAtomic(out, reportPage({ title, ...inputs }));
        run.print(`${out}: ${inputs.files.length} files on one page`);
        return { out, files: inputs.files };
      }),
    );
}
