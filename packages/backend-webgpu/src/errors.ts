import { BackendError } from "@slayer/tensor";

/** There is no WebGPU, or no adapter, to run on; the message says what was tried and what helps. */
export class AdapterMissingError extends Error {
  override readonly name = "AdapterMissingError";
}

/** `webgpu: ` and what went wrong. */
export function failure(message: string, cause?: unknown): BackendError {
  return new BackendError(`webgpu: ${message}`, cause === undefined ? {} : { cause });
}
