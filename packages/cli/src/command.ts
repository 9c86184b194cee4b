import { type Command, InvalidArgumentError, Option } from "commander";
import { backendNames } from "./backends.js";

/**
 * A verb with its summary, the options that all verbs have, and examples that run as they stand in a directory with a
 * model called `model` and the files of the examples before.
 */
export function newVerb(program: Command, name: string, summary: string, examples: readonly string[]): Command {
  return program
    .command(name)
    .description(summary)
    .addOption(new Option("--backend <name>", "what computes").choices(backendNames).default("auto"))
    .option("--device <n>", "which of the backend's devices", wholeNumber(0), 0)
    .option("--seed <n>", "for everything random", wholeNumber(0), 0)
    .option("--json", "print one JSON document on stdout, and nothing else")
    .option("--quiet", "no progress and no log on stderr")
    .addHelpText(
      "after",
      `\nExample${examples.length > 1 ? "s" : ""}:\n${examples.map((line) => `  $ ${line}`).join("\n")}`,
    );
}

/** Parses an option that is a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

/** Parses an option that is a number in a range. */
export function numberIn(low: number, high: number, exclusiveLow = false): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const inside = (exclusiveLow ? value > low : value >= low) && value <= high;
    if (text.trim() !== "" && inside) return value;
    const range =
      high === Infinity ? `of at least ${low}` : `${exclusiveLow ? "above" : "from"} ${low} and up to ${high}`;
    throw new InvalidArgumentError(`Expected a number ${range}.`);
  };
}
