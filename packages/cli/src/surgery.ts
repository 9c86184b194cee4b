import type { ModelConfig } from "@slayer/checkpoint";
import { parseScores, type Scores } from "@slayer/importance";
import { type BlockValues, parseCustomSurgery, parsePlan, planRecipe, type SurgeryPlan } from "@slayer/surgery";
import { type Command, Option } from "commander";
import { wholeNumber } from "./command.js";
import { UserError } from "./errors.js";
import { readText } from "./files.js";

/** The most bytes of a plan, scores or recipe file that are read; their parsers have limits of their own. */
const MAX_FILE_BYTES = 2 ** 25;

const strategies = ["slayer", "llama-pro", "solar", "prune", "custom"];

export interface StrategyOptions {
  readonly strategy?: string;
  readonly groups?: number;
  readonly groupSize?: number;
  readonly every?: number;
  readonly prune?: number;
  readonly init?: string;
  readonly final?: string;
  readonly zero: boolean;
  readonly position?: string;
  readonly region?: string;
  readonly start?: number;
  readonly pruneStart?: number;
  readonly trim?: number;
  readonly blocks?: string;
  readonly choose?: string;
  readonly recipe?: string;
  readonly importance?: string;
}

/** The options that describe a surgery. Which of them a strategy has, and their defaults, the strategy itself knows. */
export function addStrategyOptions(command: Command): Command {
  return command
    .addOption(new Option("--strategy <name>", "how blocks are chosen").choices(strategies))
    .option("--groups <n>", "number of groups, one new block each (slayer: 8 for 32 blocks)", wholeNumber(1))
    .option("--group-size <n>", "slayer: base blocks per group (default 2)", wholeNumber(1))
    .option("--every <n>", "llama-pro: base blocks per new block (default 4)", wholeNumber(1))
    .option(
      "--prune <n>",
      "slayer: blocks deleted at the end (default 2); prune with --importance: blocks removed (default a quarter)",
      wholeNumber(0),
    )
    .addOption(
      new Option(
        "--init <init>",
        "of new blocks: mean of both neighbours (slayer's default), or copy of the one before",
      ).choices(["average", "copy"]),
    )
    .addOption(
      new Option(
        "--final <final>",
        "what the block before the deleted ones becomes; slayer's default deleted-mean, the paper's text; prune's keep",
      ).choices(["deleted-mean", "kept-mean", "keep"]),
    )
    .option("--no-zero", "leave o_proj and down_proj of new blocks as they are; the output then changes at once")
    .addOption(
      new Option(
        "--position <position>",
        "slayer: where in its group the new block goes; default after-last, as published",
      ).choices(["after-last", "before-last"]),
    )
    .addOption(
      new Option("--region <region>", "slayer: which part of the depth is cut into groups; default half").choices([
        "half",
        "third",
      ]),
    )
    .option("--start <n>", "slayer: the first block of the first group (default 0)", wholeNumber(0))
    .option("--prune-start <n>", "slayer: the first deleted block (default: the last blocks go)", wholeNumber(0))
    .option(
      "--trim <n>",
      "solar: blocks that each copy of the model goes without at the seam (default a quarter)",
      wholeNumber(0),
    )
    .option("--blocks <list>", "prune: the blocks to remove, like 21-24,30")
    .addOption(
      new Option(
        "--choose <how>",
        "prune with --importance: the run of blocks that does least (default), or the lowest one by one",
      ).choices(["run", "lowest"]),
    )
    .option("--recipe <file>", "custom: YAML with the lists insert, update, remove and train")
    .option("--importance <file>", "slayer and prune: choose blocks by these scores (see the notes that it prints)");
}

/** The plan that the options describe, for a model of this geometry. */
export async function planFromOptions(config: ModelConfig, options: StrategyOptions): Promise<SurgeryPlan> {
  const { strategy, groups, groupSize, every, prune, init, final, zero, position, region } = options;
  const { start, pruneStart, trim, blocks, choose, recipe, importance } = options;
  if (strategy === undefined) throw new UserError(`expected --strategy ${strategies.join(", ")}`);
  if (strategy === "custom" && recipe === undefined) {
    throw new UserError("expected --recipe FILE.yaml with --strategy custom");
  }
  const given = {
    groups,
    groupSize,
    every,
    prune,
    init,
    final,
    position,
    region,
    start,
    pruneStart,
    trim,
    blocks,
    choose,
  };
  const inputs = {
    ...(importance === undefined ? {} : { importance: await readValues(importance) }),
    ...(recipe === undefined ? {} : { custom: parseCustomSurgery(await readText(recipe, MAX_FILE_BYTES), recipe) }),
  };
  // `--no-zero` alone is passed on, so that a strategy without this option does not refuse every call.
  return planRecipe(strategy, config, { ...given, ...(zero ? {} : { zero }) }, inputs);
}

/**
 * What scores.json says of each block, the larger the more it matters. Of a gate's gradient the magnitude counts: a block whose
 * gate the loss pulls either way is one the loss depends on, and it is the magnitude that ranks blocks as removing them does.
 */
async function readValues(file: string): Promise<BlockValues> {
  const scores = parseScores(await readText(file, MAX_FILE_BYTES), file);
  if (scores.metric === "insertion" && scores.init === "average") {
    throw new UserError(
      `${file}: insertion of averages says nothing of the last block; use another metric, or --init copy`,
    );
  }
  const importance = scores.metric === "gate" ? Math.abs : (value: number) => value;
  const blocks = scores.blocks.map(({ block, value }) => ({ block, value: importance(value) }));
  const values = { of: whatWasMeasured(scores), blocks };
  return scores.metric === "angular" ? { ...values, runs: scores.runs } : values;
}

function whatWasMeasured(scores: Scores): string {
  const { metric, samples } = scores;
  if (metric === "angular")
    return `angular distances at ${scores.token === "last" ? "the last token" : "all tokens"} of ${samples} sequences`;
  if (metric === "gate") return `magnitudes of gate gradients on ${samples} sequences`;
  const change = metric === "removal" ? "removal" : `insertion of a ${scores.init}`;
  return `${scores.unit} after ${change} on ${samples} ${scores.unit === "loss" ? "sequences" : "items"}`;
}

export async function readPlan(file: string): Promise<SurgeryPlan> {
  return parsePlan(await readText(file, MAX_FILE_BYTES), file);
}
