/** Hugging Face checkpoint directories: safetensors by range, streaming writer, config.json, provenance. */
export { Checkpoint } from "./checkpoint.js";
export { editConfig, parseConfig } from "./config.js";
export type { ModelConfig, RopeConfig } from "./config.js";
export { checkFreeSpace, withOutputDirectory, writeFileAtomic } from "./directory.js";
export { byteSize, decodeToF32, encodeFromF32, isFloatDtype } from "./dtype.js";
export type { FloatDtype, StoredDtype } from "./dtype.js";
export { CheckpointError } from "./errors.js";
export type { CheckpointErrorCode } from "./errors.js";
export { blockTensors, expectedTensors, parameterCount } from "./geometry.js";
export type { ParameterCount } from "./geometry.js";
export { blockName, blockOf, isRotaryBuffer } from "./names.js";
export { PROVENANCE_FILE, readProvenance, writeProvenance } from "./provenance.js";
export type { BlockProvenance, Provenance } from "./provenance.js";
export { readHeader } from "./safetensors.js";
export type { SafetensorsHeader, TensorInfo } from "./safetensors.js";
export { CheckpointWriter, planShards } from "./writer.js";
export type { ShardPlan, TensorSpec } from "./writer.js";
