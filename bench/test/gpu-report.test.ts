import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { writeReports } from "../src/gpu/report.js";

it("a folder of results becomes a page: what was reached beside targets, PyTorch's steps of the same kind as ratios", async () => {
  const folder = mkdtempSync(join(tmpdir(), "slayer-report-"));
  const write = (path: string, value: unknown) => writeFileSync(join(folder, path), JSON.stringify(value));
  const step = { tokensPerSecond: 15_000, secondsPerStep: 0.273, batch: 1, mfu: 0.57, plannedBytes: 2 ** 30 };
  const kernel = { seconds: 1e-3, spread: 0.01, flops: 7e14, bandwidth: 2e12, share: 0.9, error: undefined };
  write("gpu.json", {
    device: "A GPU (compute capability 9.0)",
    date: "2026-11-27T01:02:03Z",
    node: "v20",
    measured: { bf16: 8e14, f32: 6e13, bandwidth: 4e12 },
    conformance: {
      passed: 12,
      failed: [],
      maxRelativeError: { "matmul, f32": 1e-5, "rope, bf16": 2e-3, "add, f32": 1e-6 },
    },
    kernels: [
      { name: "matmul NT 2×2×2", ...kernel, target: { share: 0.78, of: "bf16", work: 1, reached: 0.875 } },
      { name: "attention", ...kernel, target: { share: 0.62, of: "bf16", work: 1, reached: 0.5 } },
      { name: "rope", ...kernel, flops: 0 },
      { name: "swiglu", problem: "there is no kernel" },
    ],
    step,
    profile: [{ name: "matmul", count: 2, seconds: 0.1, flops: 7e13, bytes: 1e9 }],
  });
  mkdirSync(join(folder, "no-masters"));
  write("no-masters/gpu.json", { device: "A GPU", step: { ...step, tokensPerSecond: 15_500, stochastic: true } });
  const peer = { secondsPerStep: 0.36, batch: 1, checkpointing: false, peakBytes: 2 ** 31 };
  write("peers-gpu-a-gpu.json", {
    device: "A GPU",
    torch: "2.11",
    kernels: [{ name: "matmul NT 2x2x2", seconds: 1e-3, flops: 6.5e14, bandwidth: 0 }],
    steps: [
      { ...peer, name: "step, batch 1, no masters", masters: false, tokensPerSecond: 11_500 },
      { ...peer, name: "step, batch 1, f32 masters", masters: true, tokensPerSecond: 10_000 },
    ],
  });

  expect(await writeReports(folder)).toEqual([join(folder, "gpu.md")]);
  const page = readFileSync(join(folder, "gpu.md"), "utf8");
  for (const line of [
    "# A GPU (compute capability 9.0)",
    "- Conformance: 12 passed, 0 failed; largest relative error f32 1.0e-5, with weights in bf16 0.0e+0, bf16 2.0e-3.",
    "| batch 1 | 15000 | 273 | 57.0 % | 1.00 GiB |  | 1.30 (no masters), 1.50 (masters) |",
    "| batch 1, no masters | 15500 | 273 | 57.0 % | 1.00 GiB |  | 1.35 (no masters), 1.55 (masters) |",
    "| PyTorch: batch 1, f32 masters | 10000 | 360 |  |  | 2.00 GiB |  |",
    "| matmul NT 2×2×2 | 1000.0 ± 1.0 % | 700 TFLOP/s | 88 % | 78 % |  | 650 TFLOP/s |",
    "| rope | 1000.0 ± 1.0 % | 2000 GB/s |  |  |  |  |",
    "| swiglu | there is no kernel |  |  |  |  |  |",
    "| 100.00 | 100 % | 2 | 700 TFLOP/s | matmul |",
  ]) {
    expect(page.split("\n")).toContain(line);
  }
  expect(page).toContain("1 of 2 reach their target; below it: attention.");
});

it("of WebGPU's results too; with PyTorch's file cut off, recomputed steps named as such, messages of several lines in one cell", async () => {
  const folder = mkdtempSync(join(tmpdir(), "slayer-report-"));
  const step = { tokensPerSecond: 1000, secondsPerStep: 4.1, batch: 1, plannedBytes: 2 ** 30, recompute: true };
  const common = { device: "A GPU", date: "2026-11-27T01:02:03Z", node: "v20" };
  const results = {
    ...common,
    measured: { bf16: 6e13, f32: 6e13, bandwidth: 4e12 },
    conformance: { passed: 3, failed: [], maxRelativeError: { "add, f32": 1e-6, "matmul, bf16 weights": 2e-5 } },
    kernels: [{ name: "swiglu", problem: "there is no kernel:\n  a | b" }],
    step,
  };
  writeFileSync(join(folder, "webgpu-a-gpu.json"), JSON.stringify(results));
  mkdirSync(join(folder, "half"));
  writeFileSync(
    join(folder, "half", "webgpu-a-gpu.json"),
    JSON.stringify({ ...common, step: { ...step, recompute: false } }),
  );
  writeFileSync(join(folder, "peers-gpu-a-gpu.json"), '{"device": "A GPU", "steps": [{"na');
  writeFileSync(join(folder, "other.json"), "null");
  writeFileSync(join(folder, "list.json"), '[{"device": "A GPU"}]');

  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  expect(await writeReports(folder)).toEqual([join(folder, "webgpu-a-gpu.md")]);
  expect(said.mock.calls.map(([text]) => text as string)).toEqual([
    expect.stringContaining("peers-gpu-a-gpu.json is left out"),
  ]);
  said.mockRestore();
  const page = readFileSync(join(folder, "webgpu-a-gpu.md"), "utf8");
  for (const line of [
    "2026-11-27, Node v20. Made by `tools/gpu/webgpu.sh`.",
    "- Conformance: 3 passed, 0 failed; largest relative error f32 1.0e-6, with weights in bf16 2.0e-5, bf16 0.0e+0.",
    "- Peaks measured in the same run: 60.0 TFLOP/s in f32 (multiply-adds in registers), 4000 GB/s (a copy).",
    "| batch 1, recomputed | 1000 | 4100 |  | 1.00 GiB |  |  |",
    "| batch 1, products by the tuner, of operands rounded to f16 too | 1000 | 4100 |  | 1.00 GiB |  |  |",
    "| swiglu | there is no kernel: a \\| b |  |  |  |  |  |",
  ]) {
    expect(page.split("\n")).toContain(line);
  }
});
