export { createWebgpuBackend, type WebgpuBackend } from "./backend.js";
export type { WebgpuOptions } from "./device.js";
export { AdapterMissingError, DeviceLostError } from "./errors.js";
export type { KernelTime } from "./profile.js";
export type { TuningStore } from "./tuner.js";
export { measureWebgpuPeaks, type WebgpuPeaks } from "./peaks.js";
