/** What of this package needs no file system: the entry that bundlers for browsers take. */
export { Checkpoint } from "./checkpoint.js";
export { editConfig, parseConfig } from "./config.js";
export type { ModelConfig, RopeConfig } from "./config.js";
export { byteSize, decodeToF32, encodeFromF32, isFloatDtype } from "./dtype.js";
export type { FloatDtype, StoredDtype } from "./dtype.js";
export { CheckpointError } from "./errors.js";
export type { CheckpointErrorCode } from "./errors.js";
export { chosenFiles } from "./files.js";
export type { FileSource, RangeFile } from "./files.js";
export { blockTensors, expectedTensors, parameterCount } from "./geometry.js";
export type { ParameterCount } from "./geometry.js";
export { blockName, blockOf, isRotaryBuffer } from "./names.js";
export type { TensorInfo } from "./safetensors.js";
