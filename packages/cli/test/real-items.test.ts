import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DropScores } from "@slayer/importance";
import { describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { scratch, slayer } from "./support/slayer.js";

const data = process.env.SLAYER_DATA ?? fileURLToPath(new URL("../../../../shared/data", import.meta.url));
const file = `${data}/eval/ARC-Challenge.test.json`;
const missing = !existsSync(file);

interface Item {
  readonly context: string;
  readonly choices: readonly string[];
  readonly answer: number;
}

/** Questions of ARC-Challenge (Clark et al. 2018, arXiv:1803.05457) as items. */
function readArc(): Item[] {
  const records = JSON.parse(readFileSync(file, "utf8")) as { instruction: string; answer: string }[];
  return records.map(({ instruction, answer }) => {
    const [, question, list] = /question: ([^]*?)\n\n(Answer1: [^]*?)\n\nAnswer format/.exec(instruction)!;
    const choices = list!.split(/ ?Answer\d: /).slice(1);
    return { context: `Question: ${question}\nAnswer:`, choices, answer: Number(answer.slice(6)) - 1 };
  });
}

async function json(...argv: string[]) {
  const { code, stdout, stderr } = await slayer([...argv, "--json", "--quiet", "--backend", "reference"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

describe.skipIf(missing)(`ARC-Challenge${missing ? ` (skipped: no ${file})` : ""}`, () => {
  it("removal: accuracies are those of the likelihoods that perplexity counts, of the base and of each pruned model", async () => {
    const dir = scratch();
    const at = (name: string) => join(dir, name);
    await writeTinyCheckpoint(at("model"), { blocks: 2, spread: 0.6 });
    const all = readArc();
    expect(all).toHaveLength(1172);
    const items = all.toSorted((a, b) => a.context.length - b.context.length).slice(0, 6);
    writeFileSync(at("items.jsonl"), items.map((item) => JSON.stringify(item)).join("\n"));
    const length = ["--sequence-length", "512"];
    const nats = async (model: string, text: string): Promise<number> => {
      writeFileSync(at("text.txt"), text);
      const { nats_per_token, tokens } = await json("perplexity", model, "--data", at("text.txt"), ...length);
      return nats_per_token * tokens;
    };
    /** Per item, whether the right choice has the largest likelihood per byte. */
    const judge = async (model: string): Promise<boolean[]> => {
      const right: boolean[] = [];
      for (const { context, choices, answer } of items) {
        const before = await nats(model, context);
        const perByte: number[] = [];
        for (const choice of choices) {
          perByte.push(((await nats(model, `${context} ${choice}`)) - before) / Buffer.byteLength(choice));
        }
        right.push(perByte[answer] === Math.min(...perByte));
      }
      return right;
    };
    const argv = ["importance", at("model"), "--data", at("items.jsonl"), "--metric", "removal", "--score", "accuracy"];
    const scores: DropScores = await json(...argv, ...length, "--batch", "4");
    const base = await judge(at("model"));
    expect(scores).toMatchObject({ unit: "accuracy", samples: 6, base: base.filter(Boolean).length / 6 });
    for (const { block, value, mcnemar } of scores.blocks) {
      await json(
        "expand",
        at("model"),
        "--strategy",
        "prune",
        "--blocks",
        String(block),
        "--out",
        at(`without-${block}`),
      );
      const after = await judge(at(`without-${block}`));
      const lost = base.filter((right, i) => right && !after[i]).length;
      const gained = base.filter((right, i) => !right && after[i]).length;
      expect(mcnemar).toMatchObject({ lost, gained });
      expect(value).toBeCloseTo((lost - gained) / 6, 12);
    }
  });
});
