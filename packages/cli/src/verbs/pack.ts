import { packDelta } from "@slayer/surgery";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { refuseExisting } from "../files.js";
import { withCheckpoint } from "../model.js";
import { formatBytes } from "../progress.js";
import type { CommonOptions, Context } from "../run.js";

interface PackOptions extends CommonOptions {
  readonly out: string;
  readonly overwrite?: true;
}

export function addPack(program: Command, context: Context): void {
  const summary =
    "store a model as its difference from a base: for a post-trained expansion, its new and updated blocks";
  newVerb(program, "pack", summary, ["slayer pack model expanded --out delta"])
    .argument("<base>", "the directory of the base model")
    .argument("<model>", "the directory of the model")
    .requiredOption("--out <dir>", "the new directory, for slayer unpack")
    .option("--overwrite", "replace an existing output")
    .action((baseDir: string, modelDir: string, options: PackOptions) =>
      context.run(options, async (run) => {
        const { out, overwrite = false } = options;
        await refuseExisting(out, overwrite);
        return withCheckpoint(baseDir, (base) =>
          withCheckpoint(modelDir, async (model) => {
            const { signal } = run;
            const { stored, fromBase, left } = await run.progress({ label: "hash", total: 1, unit: "B" }, (progress) =>
              packDelta(base, model, out, {
                overwrite,
                signal,
                onProgress: (done, all) => progress.update(done, "", all),
              }),
            );
            const all = stored.bytes + fromBase.bytes;
            run.print(
              `${out}: ${formatBytes(stored.bytes)} in place of ${formatBytes(all)}; ` +
                `${stored.tensors} tensors, and ${fromBase.tensors} that are the base's`,
            );
            if (left.length > 0) run.print(`left behind: ${left.join(", ")}`);
            return { out, stored, from_base: fromBase, left };
          }),
        );
      }),
    );
}
