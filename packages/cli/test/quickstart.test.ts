import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { scratch, slayer } from "./support/slayer.js";

const home = process.cwd();
afterEach(() => process.chdir(home));

test("the quickstart's whole flow, small: table, numbers that hang together, report", async () => {
  process.chdir(scratch());
  const { code, stdout, stderr } = await slayer(["quickstart", "--small", "--json", "--backend", "reference"]);
  expect(code, stderr).toBe(0);
  interface Run {
    name: string;
    total_parameters: number;
    trainable_parameters: number;
    domain_before: number;
    domain_after: number;
    general_after: number;
  }
  const result = JSON.parse(stdout) as { base: { parameters: number; domain: number }; runs: Run[] };
  expect(result.runs.map(({ name }) => name)).toEqual(["slayer", "llama-pro", "full fine-tuning"]);
  const [slayerRun, pro, full] = result.runs as [Run, Run, Run];
  // 8 blocks of 64·(2·64 + 2·32) + 3·64·160 + 2·64 parameters: slayer adds two and prunes one, llama-pro adds two.
  const block = 64 * (2 * 64 + 2 * 32) + 3 * 64 * 160 + 2 * 64;
  expect(slayerRun.total_parameters - result.base.parameters).toBe(block);
  expect(pro.total_parameters - result.base.parameters).toBe(2 * block);
  expect(slayerRun.trainable_parameters).toBe(3 * block);
  expect(pro.trainable_parameters).toBe(2 * block);
  expect(full.trainable_parameters).toBe(full.total_parameters);
  for (const run of result.runs) {
    expect(run.domain_before).toBe(result.base.domain);
    expect(run.domain_after).not.toBe(run.domain_before);
    expect(run.general_after).toBeGreaterThan(0);
  }
  const report = readFileSync("quickstart/report.html", "utf8");
  expect(report).toContain("full fine-tuning");
  // As in the paper's Figure 2.
  for (const heading of ["Angular distance", "Drop after removal", "Drop after insertion"]) {
    expect(report).toContain(`<h2>${heading}`);
  }
  expect(report.match(/<svg/g)!.length).toBeGreaterThan(5);
}, 180_000); // 13 s of processor time; a busy machine makes it many times that

test("a directory that is not a quickstart's is left alone", async () => {
  process.chdir(scratch());
  mkdirSync("quickstart");
  writeFileSync("quickstart/thesis.txt", "mine");
  const { code, stderr } = await slayer(["quickstart", "--small"]);
  expect(code).toBe(2);
  expect(stderr).toContain("is not a quickstart's");
  expect(existsSync("quickstart/thesis.txt")).toBe(true);
}, 180_000);
