import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Pcg32 } from "@slayer/data";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "./support/tiny-checkpoint.js";
import { tinyTexts } from "./support/tiny-texts.js";

const bin = fileURLToPath(new URL("../packages/cli/dist/bin.js", import.meta.url));
const STEPS = 40;
let dir: string;

beforeAll(async () => {
  if (!existsSync(bin)) throw new Error(`${bin} is missing: run the build first (npm test does)`);
  dir = await mkdtemp(join(tmpdir(), "slayer-kill-"));
  await writeTinyCheckpoint(join(dir, "model"));
  const lines = tinyTexts(80, 5).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(join(dir, "data.jsonl"), lines.join(""));
  const recipe = `
model: ${join(dir, "model")}
trainable: [model.layers.1, model.layers.2]
data: [{path: ${join(dir, "data.jsonl")}}]
sequence_length: 32
batch: {sequences: 4, micro: 2}
steps: ${STEPS}
optimizer: {lr: 0.01}
checkpoint: {every: 3, keep: 2}
out: ${join(dir, "run")}
`;
  await writeFile(join(dir, "recipe.yaml"), recipe);
});

afterAll(() => rm(dir, { recursive: true, force: true }));

/**
 * Starts `slayer train` on the reference backend. With `kill`, it gets SIGKILL once its curve has that many lines, and the
 * given milliseconds later: in the middle of whatever it does then.
 */
function start(
  args: readonly string[],
  kill?: { lines: number; delay: number },
): Promise<{ code: number | null; killed: boolean; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [bin, "train", join(dir, "recipe.yaml"), "--backend", "reference", ...args]);
    let stderr = "";
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    const timer = setInterval(() => {
      if (!kill || lineCount(join(dir, "run", "metrics.jsonl")) < kill.lines) return;
      clearInterval(timer);
      setTimeout(() => child.kill("SIGKILL"), kill.delay);
    }, 2);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearInterval(timer);
      resolve({ code, killed: signal === "SIGKILL", stderr });
    });
  });
}

function lineCount(file: string): number {
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0;
}

async function curve(run: string): Promise<unknown[]> {
  const lines = (await readFile(join(dir, run, "metrics.jsonl"), "utf8")).trimEnd().split("\n");
  return lines.map((line) => {
    const { seconds: _, tokens_per_second: __, mfu: ___, ...rest } = JSON.parse(line) as Record<string, unknown>;
    return rest;
  });
}

describe("kill -9", () => {
  it("at random moments, then --resume: curve and weights equal the uninterrupted run's bit for bit", async () => {
    const whole = ["--set", `out=${join(dir, "whole")}`];
    const uninterrupted = await start(whole);
    expect(uninterrupted.code, uninterrupted.stderr).toBe(0);
    expect(await curve("whole")).toHaveLength(STEPS);

    const random = new Pcg32(11, 0);
    for (const lines of [1, 4, 9, 17, 26]) {
      const result = await start(["--resume"], { lines, delay: random.below(10) });
      expect(result.killed, result.stderr).toBe(true);
    }
    const last = await start(["--resume"]);
    expect(last.code, last.stderr).toBe(0);
    expect(await curve("run")).toEqual(await curve("whole"));
    const weights = (run: string) => readFile(join(dir, run, "model", "model.safetensors"));
    expect((await weights("run")).equals(await weights("whole"))).toBe(true);
  });
});
