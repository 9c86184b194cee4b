import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { compileWgsl } from "../bundler/wgsl.mjs";
import { type KernelSource, specialise } from "../src/specialise.js";

function kernel(path: string): KernelSource {
  const { module } = compileWgsl(fileURLToPath(new URL(`../../../kernels/${path}`, import.meta.url)));
  return JSON.parse(module.replace(/^export default /, "").replace(/;\n$/, "")) as KernelSource;
}

/** Dawn's adapter that computes nothing: it checks shaders, needs no driver, and has all features. */
async function nullDevice(features: readonly string[]): Promise<GPUDevice | undefined> {
  const { create } = await import("webgpu").catch(() => ({ create: undefined }));
  if (!create) return undefined;
  const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  kept.push(gpu);
  const adapter = await gpu.requestAdapter();
  return adapter?.requestDevice({ requiredFeatures: features as GPUFeatureName[] });
}

/** dawn.node must not lose them while a device lives. */
const kept: unknown[] = [];

const device = await nullDevice(["chromium-experimental-subgroup-matrix", "shader-f16", "subgroups"]);

// No adapter with matrix units was at hand: that WGSL is valid is all that is known of their use. What is around it is checked with
// units of plain loops (conformance.test.ts).
it.skipIf(device === undefined)(
  `products on matrix units: the WGSL is valid for f32 and f16, all layouts${device ? "" : ", not checked here: npm's webgpu is missing"}`,
  async () => {
    const matrixKernel = kernel("matmul/matmul_matrix.wgsl");
    const units = [
      { UNIT_M: 8, UNIT_N: 8, UNIT_K: 8, SUBGROUP: 32, flags: [] },
      { UNIT_M: 16, UNIT_N: 16, UNIT_K: 16, SUBGROUP: 32, flags: ["HALF"] },
      { UNIT_M: 8, UNIT_N: 16, UNIT_K: 16, SUBGROUP: 16, flags: ["HALF"] },
    ];
    const layouts = [[], ["TRANSPOSE_A"], ["TRANSPOSE_B"], ["A_BF16", "B_BF16"], ["TRANSPOSE_B", "B_BF16"]];
    for (const { flags, ...constants } of units) {
      for (const layout of layouts) {
        const code = specialise({ kernel: matrixKernel, flags: [...flags, ...layout], constants });
        device!.pushErrorScope("validation");
        const { messages } = await device!.createShaderModule({ code }).getCompilationInfo();
        expect([
          await device!.popErrorScope(),
          messages.map(({ message, lineNum }) => `${lineNum}: ${message}`),
        ]).toEqual([null, []]);
      }
    }
  },
);
