import { join } from "node:path";
import type { Checkpoint } from "@slayer/checkpoint";
import { DataError, Tokenizer } from "@slayer/data";
import { compareLogits, type LogitsComparison } from "@slayer/eval";
import { verify, type VerifyReport } from "@slayer/surgery";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { exists } from "../files.js";
import { concatenate, loadModel, tokenizeFiles, withCheckpoint } from "../model.js";
import type { CommonOptions, Context, Run } from "../run.js";
import { readPlan } from "../surgery.js";

interface VerifyVerbOptions extends CommonOptions {
  readonly plan?: string;
  readonly data?: string[];
}

/** What the logits are compared on when no data are given. */
const SENTENCE =
  "When the rain had stopped, she walked down to the harbour; 12 boats lay there, and for (let i = 0; i < 3; i++) " +
  "the bell of the church rang. «Zwölf», said the old man, and closed his book.";

type Logits = ({ readonly compared: true } & LogitsComparison) | { readonly compared: false; readonly why: string };

export function addVerify(program: Command, context: Context): void {
  newVerb(program, "verify", "prove that a checkpoint is what its plan makes of the base", [
    "slayer verify model expanded --plan plan.json",
    "slayer verify model expanded-pro --data text.txt",
  ])
    .argument("<base>", "the directory that was expanded")
    .argument("<expanded>", "the new directory")
    .option("--plan <file>", "plan.json (default: the plan that provenance.json records)")
    .option("--data <file...>", "text to compare both models' logits on, where the plan preserves the function")
    .action((baseDir: string, expandedDir: string, options: VerifyVerbOptions) =>
      context.run(options, (run) =>
        withCheckpoint(baseDir, (base) =>
          withCheckpoint(expandedDir, async (expanded) => {
            const plan = options.plan === undefined ? {} : { plan: await readPlan(options.plan) };
            const total = [...expanded.tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
            const { signal } = run;
            const report = await run.progress({ label: "compare tensors", total, unit: "B" }, (progress) =>
              verify(base, expanded, { ...plan, signal, onProgress: (done, all) => progress.update(done, "", all) }),
            );
            const logits = await proveLogits(run, base, expanded, report, options.data);
            const ok = report.ok && !(logits.compared && !logits.identical);
            print(run, report, logits, ok);
            if (!ok) run.exitCode = 2;
            return { ...report, ok, logits };
          }),
        ),
      ),
    );
}

async function proveLogits(
  run: Run,
  base: Checkpoint,
  expanded: Checkpoint,
  report: VerifyReport,
  data: readonly string[] | undefined,
): Promise<Logits> {
  if (!report.ok) return { compared: false, why: "the tensors are not as planned" };
  if (!report.preservesFunction) return { compared: false, why: "the plan changes the function" };
  const ids = await textIds(run, base.dir, data);
  if (typeof ids === "string") return { compared: false, why: ids };
  const backend = await run.backend();
  const a = await loadModel(run, base, backend);
  const b = await loadModel(run, expanded, backend);
  const { signal } = run;
  const result = await run.progress({ label: "compare logits", total: ids.length, unit: "tokens" }, (progress) =>
    compareLogits(base.config, a, expanded.config, b, ids, {
      signal,
      onProgress: (done, windows) => progress.update(Math.round((done / windows) * ids.length)),
    }),
  );
  return { compared: true, ...result };
}

/** Ids of the data, or of a sentence; where there are no data and no usable tokenizer, the reason. */
async function textIds(run: Run, dir: string, data: readonly string[] | undefined): Promise<Int32Array | string> {
  if (data !== undefined) {
    return concatenate(await tokenizeFiles(run, dir, { data: [...data], format: "auto", field: "text" }));
  }
  if (!(await exists(join(dir, "tokenizer.json")))) return "the base has no tokenizer.json";
  try {
    return (await Tokenizer.load(dir)).encode(SENTENCE);
  } catch (error) {
    if (error instanceof DataError) return error.message;
    throw error;
  }
}

function print(run: Run, report: VerifyReport, logits: Logits, ok: boolean): void {
  for (const { code, tensor, message } of report.problems) {
    run.print(`${code}${tensor === undefined ? "" : ` ${tensor}`}: ${message}`);
  }
  const { copied, averaged, zeroed } = report;
  run.print(`tensors as planned: ${copied} copied bit for bit, ${averaged} averaged, ${zeroed} zero`);
  if (!logits.compared) run.print(`logits not compared: ${logits.why}`);
  else if (logits.identical) run.print(`logits identical, bit for bit, after ${logits.positions} tokens`);
  else {
    const difference = `largest difference ${logits.maxAbsolute}, relative ${logits.maxRelative}`;
    run.print(`logits differ after ${logits.positions} tokens: ${difference}`);
  }
  run.print(ok ? "verified" : `NOT verified: ${report.problems.length} problems in the files`);
}
