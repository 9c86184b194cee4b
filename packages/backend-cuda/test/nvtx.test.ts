import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { driver, hostEnvironment, missing, note } from "./support/host.js";

const file = (name: string) => fileURLToPath(new URL(`./support/${name}`, import.meta.url));
const script = file("job.mjs");

/** What a profiler hears of a program, by default one of 100 steps, in a process of its own. */
function ranges(changed: Record<string, string>, program = [script, "end"]): string[] {
  const log = join(mkdtempSync(join(tmpdir(), "slayer-nvtx-")), "log");
  const tool = { NVTX_INJECTION64_PATH: join(dirname(driver), "libnvtx_tool.so"), SLAYER_NVTX_LOG: log };
  const env = { ...process.env, ...hostEnvironment(), ...tool, ...changed };
  const { status, stdout } = spawnSync(process.execPath, program, { env, encoding: "utf8" });
  expect({ status, stdout }).toEqual({ status: 0, stdout: "done\n" });
  return readFileSync(log, "utf8").trimEnd().split("\n");
}

describe.skipIf(missing !== undefined)(`ranges for profilers (NVTX)${note}`, () => {
  it("name preparation, runs, and graphs by their steps", () => {
    const wanted = ["prepare 101 launches", "run 101 launches", "  graph of steps 0 to 100"];
    expect(ranges({})).toEqual(wanted);
    expect(ranges({ SLAYER_CUDA_SYNC: "0" })).toEqual(wanted);
  });

  it("name every kernel where kernels run one by one", () => {
    const [prepare, run, first, second, ...others] = ranges({ SLAYER_CUDA_SYNC: "1" });
    expect([prepare, run]).toEqual(["prepare 101 launches", "run 101 launches"]);
    expect([first, second]).toEqual(["  step 0, fill_f32", "  step 1, accumulate_f32_f32"]);
    expect(others.at(-1)).toBe("  step 100, accumulate_f32_f32");
  });

  it.each([
    ...["major=8", "major=10"].map((machine) => ({
      machine,
      products: ["matmul_mma_wide_nt_bf16", "matmul_swiglu_wide_bf16"],
      attention: { 48: "rows", 64: "mma", 128: "mma", 192: "mma" },
    })),
    {
      machine: "major=9",
      products: ["matmul_wgmma_nt_bf16", "matmul_swiglu_wgmma_bf16"],
      attention: { 48: "rows", 64: "wgmma", 128: "wgmma", 192: "mma" },
    },
    // As compute capability 8.6 and 8.9 have it.
    {
      machine: "major=8,shared=101376",
      products: ["matmul_mma_nt_bf16", "matmul_swiglu_bf16"],
      attention: { 48: "rows", 64: "mma", 128: "mma", 192: "rows" },
    },
  ])("show which kernels are taken on a device ($machine)", ({ machine, products, attention }) => {
    const program = [file("kernels.mjs"), ...Object.keys(attention)];
    const kernels = ranges({ SLAYER_CUDA_SYNC: "1", SLAYER_HOST_DRIVER: machine }, program)
      .filter((range) => range.startsWith("  step "))
      .map((range) => range.replace(/.*, /, ""));
    const named = (E: string, kind: string) =>
      ["", "_dq", "_dkv"].map((part) => `attention${part}_${kind}_${kind === "rows" ? "bf16" : E}`);
    const expected = Object.entries(attention).flatMap(([E, kind]) => [...named(E, kind), "attention_delta_bf16"]);
    expect(new Set(kernels)).toEqual(new Set([...products, ...expected]));
  });

  it("a tool that is not there is none", () => {
    const env = { ...process.env, ...hostEnvironment(), NVTX_INJECTION64_PATH: "/nowhere/tool.so" };
    expect(spawnSync(process.execPath, [script, "end"], { env, encoding: "utf8" }).stdout).toBe("done\n");
  });
});
