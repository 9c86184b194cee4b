import { expand } from "@slayer/surgery";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { UserError } from "../errors.js";
import { refuseExisting } from "../files.js";
import { withCheckpoint } from "../model.js";
import { formatBytes } from "../progress.js";
import type { CommonOptions, Context } from "../run.js";
import { addStrategyOptions, planFromOptions, readPlan, type StrategyOptions } from "../surgery.js";

interface ExpandOptions extends CommonOptions, StrategyOptions {
  readonly plan?: string;
  readonly out: string;
  readonly overwrite?: true;
}

export function addExpand(program: Command, context: Context): void {
  const verb = newVerb(program, "expand", "apply a plan: write the new checkpoint", [
    "slayer expand model --plan plan.json --out expanded",
    "slayer expand model --strategy llama-pro --groups 2 --out expanded-pro",
  ])
    .argument("<model>", "a directory in Hugging Face layout")
    .option("--plan <file>", "plan.json, instead of --strategy and its options");
  addStrategyOptions(verb)
    .requiredOption("--out <dir>", "the new directory")
    .option("--overwrite", "replace an existing output")
    .action((model: string, options: ExpandOptions) =>
      context.run(options, async (run) => {
        const { plan: file, out, overwrite = false } = options;
        if (file !== undefined && options.strategy !== undefined) {
          throw new UserError("expected --plan or --strategy, got both");
        }
        if (file === undefined && options.strategy === undefined) {
          throw new UserError("expected --plan plan.json, or --strategy with its options");
        }
        await refuseExisting(out, overwrite);
        return withCheckpoint(model, async (base) => {
          const plan = file === undefined ? await planFromOptions(base.config, options) : await readPlan(file);
          const total = [...base.tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
          const { signal } = run;
          const result = await run.progress({ label: "expand", total, unit: "B" }, (progress) =>
            expand(base, plan, out, { overwrite, signal, onProgress: (done, all) => progress.update(done, "", all) }),
          );
          const { files, bytesWritten, sideFiles } = result;
          run.print(`${out}: ${plan.blocks.length} blocks, ${formatBytes(bytesWritten)} in ${files.join(", ")}`);
          if (sideFiles.copied.length > 0) run.print(`came along: ${sideFiles.copied.join(", ")}`);
          if (sideFiles.left.length > 0) run.print(`left behind: ${sideFiles.left.join(", ")}`);
          return {
            out,
            blocks: plan.blocks.length,
            files,
            bytes_written: bytesWritten,
            bytes_read: result.bytesRead,
            side_files: sideFiles,
            preserves_function: plan.preservesFunction,
          };
        });
      }),
    );
}
