export { availableIsas, createCpuBackend } from "./backend.js";
export { AddonMissingError } from "./native.js";
export type { CpuOptions } from "./options.js";
