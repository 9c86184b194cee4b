import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, train } from "@slayer/train";
import { expect, test } from "vitest";
import { LiveReport } from "../src/report/live.js";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";
import { scratch } from "./support/slayer.js";

/** The steps that the page's table counts. */
const stepsOf = (page: string) => Number(/<th scope="row">run<\/th>\s*<td class="number">(\d+)<\/td>/.exec(page)![1]);
const RELOADS = '<meta http-equiv="refresh" content="10" />';

test("while a run goes on its page follows every step and reloads itself; in the end it stays as it is", async () => {
  const dir = scratch();
  const at = (name: string) => join(dir, name);
  await writeTinyCheckpoint(at("model"), { blocks: 1 });
  const lines = tinyTexts(20, 1).map((text) => `${JSON.stringify({ text })}\n`);
  writeFileSync(at("text.jsonl"), lines.join(""));
  const recipe = checkRecipe(
    {
      ...{ model: at("model"), data: [{ path: at("text.jsonl") }], out: at("run"), trainable: ["norm"] },
      ...{ sequence_length: 16, batch: { sequences: 2 }, steps: 3 },
    },
    "test",
  );
  const file = at("run/report.html");
  const report = new LiveReport(at("run"), file, { leastMs: 0, share: 0 });
  const pages: string[] = [];
  const losses: number[] = [];
  await train(recipe, createReferenceBackend(), {
    onStep: async ({ loss }) => {
      await report.refresh();
      pages.push(readFileSync(file, "utf8"));
      losses.push(loss);
    },
  });
  expect(pages.map(stepsOf)).toEqual([1, 2, 3]);
  pages.forEach((page, i) => {
    expect(page).toContain(RELOADS);
    expect(page).toContain(`Training loss by step: run ends at ${losses[i]!.toPrecision(4)}`);
  });
  await report.finish();
  const last = readFileSync(file, "utf8");
  expect(stepsOf(last)).toBe(3);
  expect(last).not.toContain('http-equiv="refresh"');
});

test("the page is written no more often than its pace allows, and in the end in any case", async () => {
  const dir = scratch();
  const file = join(dir, "report.html");
  const step = { step: 1, loss: 1, lr: 1, grad_norm: 1, tokens: 1, tokens_per_second: 1, seconds: 1 };
  writeFileSync(join(dir, "metrics.jsonl"), `${JSON.stringify(step)}\n`);
  const report = new LiveReport(dir, file, { leastMs: 60_000, share: 50 });
  await report.refresh();
  expect(existsSync(file)).toBe(false);
  await report.finish();
  expect(readFileSync(file, "utf8")).toContain("Training loss by step");
});
