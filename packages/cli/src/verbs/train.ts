import { dirname, join } from "node:path";
import {
  checkRun,
  dryRun,
  openData,
  parseRecipe,
  previewData,
  type Prediction,
  type Recipe,
  type StepMetrics,
  train,
  type TrainResult,
} from "@slayer/train";
import { type Command, Option } from "commander";
import { newVerb, wholeNumber } from "../command.js";
import { readText } from "../files.js";
import { duration, formatBytes } from "../progress.js";
import { LiveReport } from "../report/live.js";
import type { CommonOptions, Context, Run } from "../run.js";
import { describeData, describeExample } from "./train-data.js";
import { describePrediction, describeSteps, rate, seconds } from "./train-prediction.js";

interface TrainOptions extends CommonOptions {
  readonly resume?: true;
  readonly overwrite?: true;
  readonly dryRun?: true;
  readonly show?: number;
  readonly set: readonly string[];
}

export function addTrain(program: Command, context: Context): void {
  newVerb(
    program,
    "train",
    "post-train a model as a recipe says (continued pre-training or fine-tuning on conversations)",
    [
      "slayer train recipe.yaml",
      "slayer train recipe.yaml --show 3",
      "slayer train recipe.yaml --set steps=4 --set out=runs/short --dry-run",
    ],
  )
    .argument(
      "<recipe>",
      "a YAML file; relative paths in it are relative to the current directory, those of data to the recipe's folder first",
    )
    .option("--resume", "go on from the newest checkpoint in the run's directory; where there is none, begin")
    .addOption(new Option("--overwrite", "replace an existing run").conflicts("resume"))
    .option(
      "--dry-run",
      "print memory, FLOPs and time as planned, and train nothing; the model's weights are not needed",
    )
    .option(
      "--show <n>",
      "print the first n documents or conversations as they are trained on, and train nothing",
      wholeNumber(1),
    )
    .option("--set <key=value...>", "put values on top of the recipe, keys with dots; key=null takes a key out", [])
    .action((file: string, options: TrainOptions, command: Command) =>
      context.run(options, async (run) => {
        const seed = command.getOptionValueSource("seed") === "cli" ? [`seed=${options.seed}`] : [];
        const recipe = parseRecipe(await readText(file, 2 ** 20), file, [...seed, ...options.set]);
        if (options.show !== undefined) return show(run, recipe, dirname(file), options.show);
        if (options.dryRun) return dry(run, recipe);
        const result = await trainWithProgress(run, recipe, dirname(file), options);
        printResult(run, recipe, result);
        return result;
      }),
    );
}

async function show(run: Run, recipe: Recipe, directory: string, count: number): Promise<object> {
  const sources = await previewData(recipe, count, { directory });
  for (const { path, examples } of sources) {
    examples.forEach((example, i) => {
      for (const line of describeExample(example, `${path} ${i + 1}`, recipe.sequence_length)) run.print(line);
    });
  }
  return { sources };
}

async function dry(run: Run, recipe: Recipe): Promise<object> {
  const backend = await run.backend();
  const prediction = await dryRun(recipe, backend, { warn: (message) => run.warn(message) });
  run.print(`model        planned from ${prediction.geometry}, for ${backend.capabilities.device}`);
  for (const line of describePrediction(recipe, prediction)) run.print(line);
  const steps = stepsOf(recipe, prediction);
  if (steps !== null) run.print(`whole run    ${describeSteps(steps, prediction)}`);
  return { recipe, ...prediction, steps, seconds_per_step: prediction.time?.secondsPerStep ?? null };
}

/** Optimizer steps, unless only the data says how many. */
function stepsOf({ steps, tokens }: Recipe, prediction: Prediction): number | null {
  return steps ?? (tokens === undefined ? null : Math.max(1, Math.floor(tokens / prediction.tokens)));
}

async function trainWithProgress(
  run: Run,
  recipe: Recipe,
  directory: string,
  options: TrainOptions,
): Promise<TrainResult> {
  const backend = await run.backend();
  await checkRun(recipe, backend, { ...options, directory });
  const data = await run.progress({ label: "tokenize", total: 1, unit: "B" }, (progress) => {
    let work = "";
    return openData(recipe, {
      directory,
      signal: run.signal,
      warn: (message) => run.warn(message),
      onTokenize: ({ stage, path, bytes, totalBytes, tokens }) => {
        if (work !== `${stage} ${path}`) progress.begin(0, totalBytes);
        work = `${stage} ${path}`;
        progress.update(bytes, stage === "hash" ? `looking at ${path}` : `${tokens} tokens of ${path}`, totalBytes);
      },
    });
  });
  return run.progress({ label: "train", total: 1, unit: "steps" }, async (progress) => {
    let report: LiveReport | undefined;
    let memory = "";
    try {
      const result = await train(recipe, backend, {
        resume: options.resume ?? false,
        overwrite: options.overwrite ?? false,
        measure: true,
        directory,
        data,
        onData: (sources) => {
          for (const line of describeData(sources)) run.log(line);
        },
        signal: run.signal,
        warn: (message) => run.warn(message),
        onPlan: ({ steps, firstStep, ...prediction }) => {
          report = new LiveReport(recipe.out, join(recipe.out, "report.html"));
          for (const line of describePrediction(recipe, prediction)) run.log(line);
          const left = describeSteps(steps - firstStep, prediction);
          run.log(firstStep > 0 ? `resuming     after step ${firstStep} of ${steps}: ${left}` : `whole run    ${left}`);
          memory = formatBytes(prediction.memory.total);
          progress.begin(firstStep, steps);
        },
        onStep: async (metrics, steps) => {
          progress.update(metrics.step, `${stepDetail(metrics)}  ${memory}`, steps);
          await report?.refresh();
        },
        onEval: ({ step, eval: losses }) => {
          for (const [path, loss] of Object.entries(losses)) {
            run.log(`step ${step}: ${path} ${loss.toFixed(4)} nats per token`);
          }
        },
      });
      return result;
    } finally {
      await report?.finish();
    }
  });
}

/** The part of the progress line that says how training goes. */
export function stepDetail({ loss, lr, grad_norm, tokens_per_second, mfu }: StepMetrics): string {
  const share = mfu === undefined ? "" : `  MFU ${(100 * mfu).toFixed(0)} %`;
  return `loss ${loss.toFixed(3)}  lr ${lr.toExponential(1)}  |g| ${grad_norm.toFixed(2)}  ${rate(tokens_per_second)} tok/s${share}`;
}

function printResult(run: Run, recipe: Recipe, result: TrainResult): void {
  const { model, steps, firstStep, skipped, tokens, finalLoss, predicted, measured } = result;
  const left = skipped > 0 ? `, ${skipped} of them left out` : "";
  run.print(
    `${model}: trained for ${steps} steps${left} on ${tokens} tokens in ${duration(result.seconds)}${firstStep > 0 ? ` since step ${firstStep}` : ""}`,
  );
  if (finalLoss !== null) {
    run.print(`last loss ${finalLoss.toFixed(4)}; curve in ${dirname(model)}/metrics.jsonl and report.html`);
  }
  if (recipe.export?.as === "delta") {
    run.print(`slayer unpack ${recipe.export.base ?? recipe.model} ${model} --out MODEL makes the model`);
  }
  for (const line of describeData(result.data)) run.print(line);
  run.print(
    `memory: predicted ${formatBytes(predicted.memory.total)}, measured ${formatBytes(measured.memory)} on the device; the process held ${formatBytes(measured.processMemory)} at most`,
  );
  if (predicted.time && measured.secondsPerStep !== null) {
    const { secondsPerStep } = predicted.time;
    const off = Math.round(100 * (measured.secondsPerStep / secondsPerStep - 1));
    run.print(
      `time per step: predicted ${seconds(secondsPerStep)}, measured ${seconds(measured.secondsPerStep)} (${off < 0 ? "" : "+"}${off} %)`,
    );
  }
}
