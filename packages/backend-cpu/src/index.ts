export { availableIsas, createCpuBackend } from "./backend.js";
export { AddonMissingError } from "./native.js";
export type { CpuOptions } from "./options.js";
export { type CpuPeaks, measureCpuPeaks } from "./peaks.js";
