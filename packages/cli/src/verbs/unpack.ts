import { applyDelta } from "@slayer/surgery";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { refuseExisting } from "../files.js";
import { withCheckpoint } from "../model.js";
import { formatBytes } from "../progress.js";
import type { CommonOptions, Context } from "../run.js";

interface UnpackOptions extends CommonOptions {
  readonly out: string;
  readonly overwrite?: true;
}

export function addUnpack(program: Command, context: Context): void {
  newVerb(program, "unpack", "make the model again that was packed, and check every byte of it", [
    "slayer unpack model delta --out unpacked",
  ])
    .argument("<base>", "the directory of the base model")
    .argument("<delta>", "the directory that slayer pack wrote")
    .requiredOption("--out <dir>", "the new directory")
    .option("--overwrite", "replace an existing output")
    .action((baseDir: string, deltaDir: string, options: UnpackOptions) =>
      context.run(options, async (run) => {
        const { out, overwrite = false } = options;
        await refuseExisting(out, overwrite);
        return withCheckpoint(baseDir, async (base) => {
          const { signal } = run;
          const { tensors, bytesWritten } = await run.progress({ label: "unpack", total: 1, unit: "B" }, (progress) =>
            applyDelta(base, deltaDir, out, {
              overwrite,
              signal,
              onProgress: (done, all) => progress.update(done, "", all),
            }),
          );
          run.print(`${out}: ${formatBytes(bytesWritten)}, every tensor as packed (SHA-256)`);
          return { out, tensors, bytes_written: bytesWritten };
        });
      }),
    );
}
