export { createWebgpuBackend, type WebgpuBackend } from "./backend.js";
export type { WebgpuOptions } from "./device.js";
export { AdapterMissingError } from "./errors.js";
export { DeviceLostError } from "@slayer/tensor";
export type { KernelTime } from "./profile.js";
export { measureWebgpuPeaks, type WebgpuPeaks } from "./peaks.js";
