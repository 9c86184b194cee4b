import { describePlan, formatPlan } from "@slayer/surgery";
import type { Command } from "commander";
import { newVerb, wholeNumber } from "../command.js";
import { jsonText, readModelConfig, refuseExisting, writeOutput } from "../files.js";
import type { CommonOptions, Context } from "../run.js";
import { addStrategyOptions, planFromOptions, type StrategyOptions } from "../surgery.js";

interface PlanOptions extends CommonOptions, StrategyOptions {
  readonly sequenceLength?: number;
  readonly out?: string;
  readonly overwrite?: true;
}

export function addPlan(program: Command, context: Context): void {
  const purpose = "plan a surgery: which blocks the new model has and what they are made of (needs the config alone)";
  const verb = newVerb(program, "plan", purpose, [
    "slayer plan model --strategy slayer --prune 1 --out plan.json",
    "slayer plan model --strategy llama-pro --groups 2",
    "slayer plan model --strategy prune --prune 1 --importance scores.json",
  ]).argument("<model>", "a directory in Hugging Face layout, or its config.json");
  addStrategyOptions(verb)
    .option(
      "--sequence-length <n>",
      "of training, for its FLOPs (default: 4096, or the model's longest)",
      wholeNumber(1),
    )
    .option("--out <file>", "write plan.json")
    .option("--overwrite", "replace an existing output")
    .action((model: string, options: PlanOptions) =>
      context.run(options, async (run) => {
        const { out, overwrite = false, sequenceLength } = options;
        if (out !== undefined) await refuseExisting(out, overwrite);
        const config = await readModelConfig(model);
        const plan = await planFromOptions(config, options);
        const summary = describePlan(plan, config, sequenceLength === undefined ? {} : { sequenceLength });
        if (out !== undefined) await writeOutput(out, jsonText(plan), overwrite);
        run.print(formatPlan(summary).trimEnd());
        return { plan, summary };
      }),
    );
}
