import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { duration, formatBytes, startProgress } from "../src/progress.js";
import { Capture, scratch, slayer } from "./support/slayer.js";

test("a terminal gets a bar with rate and remaining time; another stream gets none of its control codes", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  writeFileSync(join(dir, "t.txt"), "The quick brown fox jumps over the lazy dog. ".repeat(40));
  const argv = ["perplexity", join(dir, "model"), "--data", join(dir, "t.txt"), "--sequence-length", "16"];
  const terminal = await slayer(argv, { terminal: true });
  expect(terminal.stderr).toMatch(/perplexity \[.*\] 100%.*windows\/s.* left/);
  const plain = await slayer(argv);
  expect(plain.stderr).not.toContain("\u001B");
  expect(terminal.stdout).toBe(plain.stdout);
  expect((await slayer([...argv, "--quiet"], { terminal: true })).stderr).toBe("");
});

test("plain lines come at most once in five seconds", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    const stream = new Capture();
    const progress = startProgress(stream as never, { label: "work", total: 100, unit: "steps" });
    for (let done = 1; done <= 60; done++) {
      vi.advanceTimersByTime(200); // 12 s in all
      progress.update(done, "loss 2.5");
    }
    progress.stop();
    expect(stream.text).toBe(
      "work: 25 steps of 100 steps, 5 steps/s, 15 s left  loss 2.5\n" +
        "work: 50 steps of 100 steps, 5 steps/s, 10 s left  loss 2.5\n",
    );
  } finally {
    vi.useRealTimers();
  }
});

test("what was done before is not in the rate", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    const stream = new Capture();
    const progress = startProgress(stream as never, { label: "train", total: 1, unit: "steps" });
    vi.advanceTimersByTime(4000);
    progress.begin(900, 1000);
    vi.advanceTimersByTime(5000);
    progress.update(910, "", 1000);
    expect(stream.text).toBe("train: 910 steps of 1000 steps, 2 steps/s, 45 s left\n");
  } finally {
    vi.useRealTimers();
  }
});

test("durations and sizes", () => {
  expect([7.4, 250, 7500].map(duration)).toEqual(["7 s", "4 min 10 s", "2 h 05 min"]);
  expect([512, 2048, 3 * 2 ** 30].map(formatBytes)).toEqual(["512 B", "2.0 KiB", "3.0 GiB"]);
});
