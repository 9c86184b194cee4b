export { createCudaBackend } from "./backend.js";
export { CudaUnavailableError, type UnavailableReason } from "./errors.js";
export type { CudaOptions } from "./options.js";
export { type CudaPeaks, measureCudaPeaks } from "./peaks.js";
