import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { driver, hostEnvironment, missing, note } from "./support/host.js";

const script = fileURLToPath(new URL("./support/job.mjs", import.meta.url));

/** What a profiler hears of 100 steps, in a process of its own. */
function ranges(changed: Record<string, string>): string[] {
  const log = join(mkdtempSync(join(tmpdir(), "slayer-nvtx-")), "log");
  const tool = { NVTX_INJECTION64_PATH: join(dirname(driver), "libnvtx_tool.so"), SLAYER_NVTX_LOG: log };
  const env = { ...process.env, ...hostEnvironment(), ...tool, ...changed };
  const { status, stdout } = spawnSync(process.execPath, [script, "end"], { env, encoding: "utf8" });
  expect({ status, stdout }).toEqual({ status: 0, stdout: "done\n" });
  return readFileSync(log, "utf8").trimEnd().split("\n");
}

describe.skipIf(missing !== undefined)(`ranges for profilers (NVTX)${note}`, () => {
  it("name preparation, runs, and graphs by their steps", () => {
    expect(ranges({})).toEqual(["prepare 101 launches", "run 101 launches", "  graph of steps 0 to 100"]);
  });

  it("name every kernel where kernels run one by one", () => {
    const [prepare, run, first, second, ...others] = ranges({ SLAYER_CUDA_SYNC: "1" });
    expect([prepare, run]).toEqual(["prepare 101 launches", "run 101 launches"]);
    expect([first, second]).toEqual(["  step 0, fill_f32", "  step 1, accumulate_f32_f32"]);
    expect(others.at(-1)).toBe("  step 100, accumulate_f32_f32");
  });

  it("a tool that is not there is none", () => {
    const env = { ...process.env, ...hostEnvironment(), NVTX_INJECTION64_PATH: "/nowhere/tool.so" };
    expect(spawnSync(process.execPath, [script, "end"], { env, encoding: "utf8" }).stdout).toBe("done\n");
  });
});
