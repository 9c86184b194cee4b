import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { missing, note } from "./support/adapter.js";

const script = fileURLToPath(new URL("./support/job.mjs", import.meta.url));

interface Started {
  readonly child: ChildProcess;
  /** Resolves once it has printed this. */
  printed(text: string): Promise<void>;
  readonly ended: Promise<{ code: number | null; signal: string | null; output: string; errors: string }>;
}

function start(mode: string): Started {
  const child = spawn(process.execPath, ["--expose-gc", script, mode], { stdio: ["ignore", "pipe", "pipe"] });
  let [output, errors] = ["", ""];
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (errors += chunk));
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal, output, errors }));
  const printed = async (text: string) => {
    while (!output.includes(text)) {
      await Promise.race([once(child.stdout, "data"), ended]);
      if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode} before printing '${text}': ${errors}`);
    }
  };
  return { child, printed, ended };
}

describe.skipIf(missing !== undefined)(`a process with a backend (as built)${note}`, () => {
  it.each(["end", "close"])("ends by itself after its last run: %s", async (mode) => {
    expect(await start(mode).ended).toMatchObject({ code: 0, signal: null, output: "done\n" });
  });

  it("ends with an exception that nobody catches", async () => {
    const { code, signal, errors } = await start("throw").ended;
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(errors).toContain("on purpose");
  });

  it("is killed by SIGINT as any other, in the middle of a run", async () => {
    const job = start("signal");
    await job.printed("running");
    job.child.kill("SIGINT");
    expect(await job.ended).toMatchObject({ code: null, signal: "SIGINT" });
  });

  it("that aborts on SIGINT exits cleanly", async () => {
    const job = start("handler");
    await job.printed("running");
    job.child.kill("SIGINT");
    const { code, output } = await job.ended;
    expect({ code, last: output.trim().split("\n").at(-1) }).toEqual({ code: 130, last: "interrupted" });
  });

  it.skipIf(!existsSync("/proc/self/status"))(
    "10,000 runs: resident memory grows by less than 8 MiB (needs /proc)",
    async () => {
      const { code, output, errors } = await start("count").ended;
      expect(errors.replaceAll(/^Warning: max.*\n/gm, "")).toBe("");
      expect(code).toBe(0);
      const { before, after } = JSON.parse(output) as { before: number; after: number };
      expect(after - before).toBeLessThan(8192);
    },
  );
});
