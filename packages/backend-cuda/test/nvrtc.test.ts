import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { missing as unbuilt } from "./support/host.js";

const program = fileURLToPath(new URL("../build/Release/check_nvrtc", import.meta.url));
/** The sources as they are shipped, where kernels were compiled. */
const shipped = fileURLToPath(new URL("../build/Release/kernels/src", import.meta.url));
const kernels = existsSync(shipped) ? shipped : fileURLToPath(new URL("../../../kernels", import.meta.url));

/** What native/check_nvrtc.cc prints of kernels compiled for an architecture. */
const compile = (architecture: string, ...names: string[]) =>
  execFileSync(program, [kernels, architecture, ...names], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const missing =
  unbuilt ??
  (!existsSync(program) || compile("sm_80", "none")[0]!.missing === true
    ? "no libnvrtc: `pip install nvidia-cuda-nvrtc`, and SLAYER_NVRTC names its libnvrtc.so.13"
    : undefined);
const note = missing === undefined ? "" : ` (not checked here: ${missing})`;

describe.skipIf(missing !== undefined)(`kernels compiled on request, without a GPU${note}`, () => {
  it.each(["sm_80", "sm_90a"])(
    "attention for heads of 80, 96 and 256 becomes a cubin that holds the kernel: %s",
    (architecture) => {
      const names = ["attention_mma_80", "attention_dq_mma_96", "attention_dkv_mma_256"];
      const compiled = { elf: true, named: true, bytes: expect.any(Number) as number };
      expect(compile(architecture, ...names)).toEqual(names.map((kernel) => ({ kernel, ...compiled })));
    },
  );

  it("what does not compile is an error", () => {
    expect(compile("sm_80", "attention_mma_72")).toEqual([{ kernel: "attention_mma_72", error: true }]);
  });
});
