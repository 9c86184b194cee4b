import type { ModelConfig } from "@slayer/checkpoint";
import { parsePlan, planRecipe, type SurgeryPlan } from "@slayer/surgery";
import { type Command, Option } from "commander";
import { wholeNumber } from "./command.js";
import { NotBuiltError, UserError } from "./errors.js";
import { readText } from "./files.js";

/** The most bytes of a plan file that are read; parsePlan has a limit of its own. */
const MAX_PLAN_BYTES = 2 ** 24;

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
  readonly importance?: string;
}

/** The options that describe a surgery. Which of them a strategy has, and their defaults, the strategy itself knows. */
export function addStrategyOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--strategy <name>", "how blocks are chosen (solar, prune and custom are not built yet)").choices([
        "slayer",
        "llama-pro",
        "solar",
        "prune",
        "custom",
      ]),
    )
    .option("--groups <n>", "number of groups, one new block each (slayer: 8 for 32 blocks)", wholeNumber(1))
    .option("--group-size <n>", "slayer: base blocks per group (default 2)", wholeNumber(1))
    .option("--every <n>", "llama-pro: base blocks per new block (default 4)", wholeNumber(1))
    .option("--prune <n>", "slayer: blocks deleted at the end (default 2)", wholeNumber(0))
    .addOption(
      new Option(
        "--init <init>",
        "of new blocks: mean of both neighbours (slayer's default), or copy of the one before",
      ).choices(["average", "copy"]),
    )
    .addOption(
      new Option(
        "--final <final>",
        "slayer: what the last kept block becomes; default deleted-mean, the paper's text",
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
    .option("--importance <file>", "choose blocks by the scores in this file (not built yet)");
}

/** The plan that the options describe, for a model of this geometry. */
export function planFromOptions(config: ModelConfig, options: StrategyOptions): SurgeryPlan {
  const { strategy, groups, groupSize, every, prune, init, final, zero, position, region, importance } = options;
  if (importance !== undefined) throw new NotBuiltError("--importance", "leave it out: blocks are chosen by position");
  if (strategy === undefined) throw new UserError("expected --strategy slayer or --strategy llama-pro");
  // `--no-zero` alone is passed on, so that a strategy without this option does not refuse every call.
  return planRecipe(strategy, config, {
    groups,
    groupSize,
    every,
    prune,
    init,
    final,
    position,
    region,
    ...(zero ? {} : { zero }),
  });
}

export async function readPlan(file: string): Promise<SurgeryPlan> {
  return parsePlan(await readText(file, MAX_PLAN_BYTES), file);
}
