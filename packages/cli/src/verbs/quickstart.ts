import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { jsonText } from "../files.js";
import { duration } from "../progress.js";
import { DEFAULT_BUDGET, REFERENCE_BUDGET, SMALL_BUDGET } from "../quickstart/budget.js";
import { SCORE_FILES } from "../quickstart/importance.js";
import { quickstart } from "../quickstart/quickstart.js";
import { comparisonTable } from "../quickstart/table.js";
import type { CommonOptions, Context } from "../run.js";
import { describeMachine } from "./doctor.js";
import { stepDetail } from "./train.js";

interface QuickstartOptions extends CommonOptions {
  readonly out: string;
  readonly small?: true;
}

export function addQuickstart(program: Command, context: Context): void {
  newVerb(
    program,
    "quickstart",
    "the whole flow on real text, in a few minutes: train a base, measure, expand, post-train, compare",
    ["slayer quickstart --small"],
  )
    .option("--out <dir>", "where everything goes; an earlier quickstart there is replaced", "quickstart")
    .option("--small", "a few steps only: shows that it runs, learns little")
    .action((options: QuickstartOptions) =>
      context.run(options, async (run) => {
        const started = performance.now();
        const backend = await run.backend();
        run.log(`backend ${backend.name}: ${backend.capabilities.device}`);
        const full = backend.name === "reference" ? REFERENCE_BUDGET : DEFAULT_BUDGET;
        const budget = options.small ? SMALL_BUDGET : full;
        const total = budget.baseSteps + 3 * budget.postSteps;
        let before = 0;
        const { base, runs } = await run.progress({ label: "quickstart", total, unit: "steps" }, (progress) =>
          quickstart(options.out, backend, run.seed, budget, {
            signal: run.signal,
            stage: (title) => run.log(`\n${title}`),
            say: (line) => run.log(`  ${line}`),
            progress: (label, metrics, steps) => {
              progress.update(before + metrics.step, `${label}: ${stepDetail(metrics)}`);
              if (metrics.step === steps) before += steps;
            },
          }),
        );
        const seconds = (performance.now() - started) / 1000;
        const machine = describeMachine();
        const document = {
          date: new Date().toISOString().slice(0, 10),
          machine: `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, backend ${backend.name}`,
          command: `slayer quickstart${options.small ? " --small" : ""} --seed ${run.seed}`,
          base,
          runs,
          notes: [
            "general: held-out English prose (documentation of Node.js). domain: held-out source code (zod). All post-training runs saw the same tokens of code in the same order, at the same learning rate.",
          ],
          seconds,
        };
        await writeFileAtomic(join(options.out, "quickstart.json"), jsonText(document));
        const report = await writeReport(options.out);
        run.print(comparisonTable(base, runs));
        run.print(`\n${duration(seconds)} in all. Charts: ${report}`);
        return { ...document, report };
      }),
    );
}

/** The page shows each surgery once, and the four training runs. */
async function writeReport(out: string): Promise<string> {
  const { readReportInputs } = await import("../report/inputs.js");
  const { reportPage } = await import("../report/page.js");
  const parts = [
    ["quickstart.json"],
    ...SCORE_FILES.map((file) => [file]),
    ["slayer-init", "provenance.json"],
    ["llama-pro-init", "provenance.json"],
    ...["base", "slayer", "llama-pro", "full-fine-tuning"].map((run) => [run, "metrics.jsonl"]),
  ];
  const inputs = await readReportInputs(parts.map((path) => join(out, ...path)));
  const report = join(out, "report.html");
  await writeFileAtomic(report, reportPage({ title: "Slayer quickstart", ...inputs }));
  return report;
}
