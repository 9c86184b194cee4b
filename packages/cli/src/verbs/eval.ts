import type { Command } from "commander";
import { newVerb } from "../command.js";
import { NotBuiltError } from "../errors.js";
import type { CommonOptions, Context } from "../run.js";

export function addEval(program: Command, context: Context): void {
  newVerb(program, "eval", "score a model on benchmark tasks (not built yet: exits 2)", ["slayer help eval"])
    .argument("<model>", "a directory in Hugging Face layout")
    .option("--tasks <list>", "names of tasks, with commas between")
    .option("--data <dir>", "directory with the tasks' data")
    .option("--limit <n>", "questions per task")
    .option("--out <file>", "write results.json")
    .action((_model: string, options: CommonOptions) =>
      context.run(options, () =>
        Promise.reject(new NotBuiltError("eval", "slayer perplexity scores a model on any text")),
      ),
    );
}
