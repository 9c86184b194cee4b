import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

const script = fileURLToPath(new URL("./support/job.mjs", import.meta.url));
const environment = missing === undefined ? hostEnvironment() : {};

/** How the job ends, and what it printed; it gets a signal once it has printed "running", if one is named. */
async function job(mode: string, signal?: NodeJS.Signals) {
  const child = spawn(process.execPath, [script, mode], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
      if (signal !== undefined && output.includes("running")) child.kill(signal);
    });
  }
  const [code, killed] = (await once(child, "close")) as [number | null, string | null];
  return { code, signal: killed, output };
}

describe.skipIf(missing !== undefined)(`a process with a CUDA backend (as built)${note}`, () => {
  it("ends by itself after its last run, with no backend closed", async () => {
    expect(await job("end")).toEqual({ code: 0, signal: null, output: "done\n" });
  });

  it("ends with its own code on process.exit in the middle of a run", async () => {
    expect(await job("exit")).toMatchObject({ code: 7, signal: null });
  });

  it("is killed by SIGINT as any other, in the middle of a run", async () => {
    expect(await job("signal", "SIGINT")).toMatchObject({ code: null, signal: "SIGINT" });
  });

  it("survives a worker thread that is terminated in the middle of a run", async () => {
    expect(await job("worker")).toEqual({ code: 0, signal: null, output: "terminated\n" });
  });
});
