import { dirname } from "node:path";
import { dryRun, parseRecipe, type Prediction, type StepMetrics, train } from "@slayer/train";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { readText } from "../files.js";
import { measureGemm } from "../measure.js";
import { duration, formatBytes } from "../progress.js";
import type { CommonOptions, Context, Run } from "../run.js";

interface TrainOptions extends CommonOptions {
  readonly resume?: true;
  readonly overwrite?: true;
  readonly dryRun?: true;
  readonly set: readonly string[];
}

export function addTrain(program: Command, context: Context): void {
  newVerb(program, "train", "post-train a model as a recipe says (continued pre-training)", [
    "slayer train recipe.yaml",
    "slayer train recipe.yaml --set steps=4 --set out=runs/short --dry-run",
  ])
    .argument("<recipe>", "a YAML file; relative paths in it are relative to the current directory")
    .option("--resume", "go on from the newest checkpoint in the run's directory")
    .option("--overwrite", "replace an existing run")
    .option("--dry-run", "print memory, FLOPs and time as planned, and train nothing")
    .option("--set <key=value...>", "put values on top of the recipe, keys with dots", [])
    .action((file: string, options: TrainOptions) =>
      context.run(options, async (run) => {
        const recipe = parseRecipe(await readText(file, 2 ** 20), file, options.set);
        const backend = await run.backend();
        if (options.dryRun) {
          const prediction = await dryRun(recipe);
          const rate = await measureGemm(backend, run.signal);
          const secondsPerStep = prediction.flops / (rate * 1e9);
          printPlan(run, prediction);
          run.print(
            `time         ${stepTime(secondsPerStep)} per step at the ${rate.toPrecision(3)} GFLOP/s a matrix product reaches here`,
          );
          return { recipe, ...prediction, gemm_gflops: rate, seconds_per_step: secondsPerStep };
        }
        const result = await run.progress({ label: "train", total: 1, unit: "steps" }, (progress) =>
          train(recipe, backend, {
            resume: options.resume ?? false,
            overwrite: options.overwrite ?? false,
            signal: run.signal,
            warn: (message) => run.warn(message),
            onPlan: ({ steps, firstStep, ...prediction }) => {
              printPlan(run, prediction);
              if (firstStep > 0) run.log(`resuming after step ${firstStep}`);
              progress.update(firstStep, "", steps);
            },
            onStep: (metrics, steps) => progress.update(metrics.step, stepDetail(metrics), steps),
            onEval: ({ step, eval: losses }) => {
              for (const [path, loss] of Object.entries(losses)) {
                run.log(`step ${step}: ${path} ${loss.toFixed(4)} nats per token`);
              }
            },
          }),
        );
        run.print(
          `${result.model}: trained for ${result.steps} steps on ${result.tokens} tokens in ${duration(result.seconds)}`,
        );
        if (result.finalLoss !== null)
          run.print(`last loss ${result.finalLoss.toFixed(4)}; curve in ${dirname(result.model)}/metrics.jsonl`);
        return result;
      }),
    );
}

const stepTime = (seconds: number) => (seconds < 10 ? `${(1000 * seconds).toPrecision(3)} ms` : duration(seconds));

/** The part of the progress line that says how training goes. */
export function stepDetail({ loss, lr, grad_norm, tokens_per_second }: StepMetrics): string {
  return `loss ${loss.toFixed(3)}  lr ${lr.toExponential(1)}  |g| ${grad_norm.toFixed(2)}  ${Math.round(tokens_per_second)} tok/s`;
}

function printPlan(run: Run, { parameters, trainable, memory, recompute, modelFlops, flops }: Prediction): void {
  const share = ((100 * trainable) / parameters).toFixed(1);
  const { total, ...parts } = memory;
  run.log(
    `parameters   ${parameters.toLocaleString("en")}, of them trained ${trainable.toLocaleString("en")} (${share} %)`,
  );
  run.log(
    `memory       ${formatBytes(total)}: ${Object.entries(parts)
      .map(([name, bytes]) => `${name} ${formatBytes(bytes)}`)
      .join(", ")}`,
  );
  run.log(
    `per step     ${(modelFlops / 1e9).toPrecision(4)} GFLOP counted for the model, ${(flops / 1e9).toPrecision(4)} in all${recompute ? ", blocks computed twice" : ""}`,
  );
}
