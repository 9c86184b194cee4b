import { writeFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { scratch, slayer } from "./support/slayer.js";

const home = process.cwd();
afterEach(() => process.chdir(home));

/** Words of a command line; double quotes keep words together. */
const words = (line: string): string[] => Array.from(line.matchAll(/"([^"]*)"|(\S+)/g), (m) => m[1] ?? m[2]!);

/** The order in which one example's output is another's input. `train` and `quickstart` have tests of their own. */
const order = [
  "doctor",
  "inspect",
  "importance",
  "plan",
  "expand",
  "verify",
  "pack",
  "unpack",
  "eval",
  "perplexity",
  "generate",
  "report",
];

test("the examples of every verb's help run as they stand", async () => {
  const dir = scratch();
  process.chdir(dir);
  await writeTinyCheckpoint("model");
  writeFileSync("text.txt", "The quick brown fox jumps over the lazy dog. ".repeat(20));
  for (const verb of order) {
    const { stdout: help } = await slayer([verb, "--help"]);
    const examples = Array.from(help.matchAll(/^ {2}\$ slayer (.+)$/gm), (m) => m[1]!);
    expect(examples.length, verb).toBeGreaterThan(0);
    for (const example of examples) {
      const { code, stderr } = await slayer(
        [...words(example), "--seed", "1"].filter((_, i, all) => all[0] !== "help" || i < 2),
      );
      expect(code, `slayer ${example}\n${stderr}`).toBe(0);
    }
  }
});

test("every verb is in the list above or has a test of its own, and has the common options", async () => {
  const { stdout } = await slayer(["--help"]);
  const verbs = Array.from(stdout.matchAll(/^ {2}([a-z]+) \[options\]/gm), (m) => m[1]!);
  expect(verbs.filter((verb) => !["train", "quickstart"].includes(verb))).toEqual(order);
  for (const verb of verbs) {
    const help = await slayer([verb, "--help"]);
    for (const option of ["--backend", "--device", "--seed", "--json", "--quiet"])
      expect(help.stdout).toContain(option);
  }
});
