import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { missing, note } from "./support/addon.js";

const script = fileURLToPath(new URL("./support/job.mjs", import.meta.url));

interface Started {
  readonly child: ChildProcess;
  /** Resolves once it has printed this. */
  printed(text: string): Promise<void>;
  readonly ended: Promise<{ code: number | null; signal: string | null; output: string }>;
}

function start(mode: string): Started {
  const child = spawn(process.execPath, ["--expose-gc", script, mode], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal, output }));
  const printed = async (text: string) => {
    while (!output.includes(text)) {
      await Promise.race([once(child.stdout, "data"), ended]);
      if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode} before printing '${text}': ${output}`);
    }
  };
  return { child, printed, ended };
}

describe.skipIf(missing !== undefined)(`a process with a backend (as built)${note}`, () => {
  it("ends by itself after its last run, with no backend closed", async () => {
    expect(await start("end").ended).toEqual({ code: 0, signal: null, output: "done\n" });
  });

  it("ends with its own code on process.exit in the middle of a run", async () => {
    expect(await start("exit").ended).toMatchObject({ code: 7, signal: null });
  });

  it("is killed by SIGINT as any other, in the middle of a run", async () => {
    const job = start("signal");
    await job.printed("running");
    job.child.kill("SIGINT");
    expect(await job.ended).toMatchObject({ code: null, signal: "SIGINT" });
  });

  it("that aborts on SIGINT exits cleanly within a second", { retry: 2 }, async () => {
    const job = start("handler");
    await job.printed("running");
    const from = performance.now();
    job.child.kill("SIGINT");
    const { code, output } = await job.ended;
    expect(performance.now() - from).toBeLessThan(1000);
    expect({ code, last: output.trim().split("\n").at(-1) }).toEqual({ code: 130, last: "interrupted" });
  });

  it("survives a worker thread that is terminated in the middle of a run", async () => {
    expect(await start("worker").ended).toEqual({ code: 0, signal: null, output: "terminated\n" });
  });

  // SLAYER_CPU_ADDON stands for a build with sanitizers: those keep what is freed.
  it.skipIf(!existsSync("/proc/self/status") || process.env.SLAYER_CPU_ADDON !== undefined)(
    "10,000 runs: no thread more, resident memory grows by less than 4 MiB (needs /proc and the plain build)",
    async () => {
      const { code, output } = await start("count").ended;
      expect(code).toBe(0);
      const { before, after } = JSON.parse(output) as Record<string, { rssKiB: number; threads: number }>;
      expect(after!.threads).toBe(before!.threads);
      expect(after!.rssKiB - before!.rssKiB).toBeLessThan(4096);
    },
  );

  it.skipIf(!existsSync("/proc/self/clear_refs") || process.env.SLAYER_CPU_ADDON !== undefined)(
    "training two of eight blocks: resident memory is what the plan says and 96 MiB at most (needs /proc and the plain build)",
    async () => {
      const partial = fileURLToPath(new URL("../../../bench/peers/train-step/partial.mjs", import.meta.url));
      const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", partial, "--memory"]);
      const { planned, resident } = JSON.parse(stdout) as Record<"planned" | "resident", number>;
      expect(planned).toBeGreaterThan(100e6);
      expect(resident).toBeGreaterThan(planned);
      expect(resident - planned).toBeLessThan(96 * 2 ** 20);
    },
  );
});
