import { measureCudaPeaks } from "@slayer/backend-cuda";
import { measureWebgpuPeaks } from "@slayer/backend-webgpu";
import type { Backend } from "@slayer/tensor";
import { rate } from "../peaks.js";
import type { DevicePeaks } from "./device-peaks.js";
import type { Shape } from "./shapes.js";
import { timeOp } from "./time.js";

/** Extent of the largest product that is timed, and bytes of the copy; next to nothing, to try the program. */
const SIZES = { large: { extent: 8192, copyBytes: 2 ** 30 }, tiny: { extent: 128, copyBytes: 2 ** 16 } };

/**
 * What this device reaches, now: chains of multiply-adds in registers, a copy, and for the tensor cores, which no chain keeps as busy and as hot
 * as numbers from memory do, a product of 8192³ in bf16 of normally distributed numbers.
 */
export async function measurePeaks(backend: Backend, size: keyof typeof SIZES): Promise<DevicePeaks> {
  const { extent, copyBytes } = SIZES[size];
  if (backend.name === "webgpu") {
    const { flops, bandwidth } = await measureWebgpuPeaks();
    return { bf16: rate(flops).best, f32: rate(flops).best, bandwidth: rate(bandwidth).best };
  }
  const { flops, bandwidth } = await measureCudaPeaks({}, copyBytes);
  const square = { shape: [extent, extent], dtype: "bf16" } as const;
  const product: Shape = {
    name: `matmul NT ${extent}×${extent}×${extent}`,
    op: "matmul",
    attrs: { transposeA: false, transposeB: true },
    inputs: [square, square],
  };
  const { seconds, cost } = await timeOp(backend, product, { check: false });
  return { bf16: cost.matmulFlops / seconds, f32: rate(flops).best, bandwidth: rate(bandwidth).best };
}
