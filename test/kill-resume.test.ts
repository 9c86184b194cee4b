import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
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
 * Starts `slayer train` on the reference backend. With `kill`, it gets that signal once its curve has so many lines, and the
 * given milliseconds later: in the middle of whatever it does then.
 */
function start(
  args: readonly string[],
  kill?: { signal: NodeJS.Signals; lines: number; delay: number },
): Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [bin, "train", join(dir, "recipe.yaml"), "--backend", "reference", ...args]);
    let stderr = "";
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    const timer = setInterval(() => {
      if (!kill || lineCount(join(dir, "run", "metrics.jsonl")) < kill.lines) return;
      clearInterval(timer);
      setTimeout(() => child.kill(kill.signal), kill.delay);
    }, 2);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearInterval(timer);
      resolve({ code, signal, stderr });
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
      const result = await start(["--resume"], { signal: "SIGKILL", lines, delay: random.below(10) });
      expect(result.signal, result.stderr).toBe("SIGKILL");
    }
    const last = await start(["--resume"]);
    expect(last.code, last.stderr).toBe(0);
    expect(await curve("run")).toEqual(await curve("whole"));
    const weights = (run: string) => readFile(join(dir, run, "model", "model.safetensors"));
    expect((await weights("run")).equals(await weights("whole"))).toBe(true);
  });
});

describe("asked to stop", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)(
    "by %s: finishes the step, saves it and exits %i; --resume goes on with the same curve",
    async (signal, code) => {
      if (!existsSync(join(dir, "whole"))) await start(["--set", `out=${join(dir, "whole")}`]);
      await rm(join(dir, "run"), { recursive: true, force: true });
      const stopped = await start([], { signal, lines: 5, delay: 3 });
      expect(stopped, stopped.stderr).toMatchObject({ code, signal: null });
      const steps = (await curve("run")).length;
      expect(steps).toBeGreaterThanOrEqual(5);
      expect(steps).toBeLessThan(STEPS);
      expect(stopped.stderr).toContain(`stopped after step ${steps} of ${STEPS}; --resume goes on from there`);
      const saved = (await readdir(join(dir, "run", "checkpoints"))).toSorted();
      expect(saved.at(-1)).toBe(`step-${String(steps).padStart(8, "0")}`);
      const resumed = await start(["--resume"]);
      expect(resumed.code, resumed.stderr).toBe(0);
      expect(await curve("run")).toEqual(await curve("whole"));
    },
  );
});
