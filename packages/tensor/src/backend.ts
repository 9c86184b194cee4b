import type { DType, FloatDType } from "./dtype.js";
import type { Attrs } from "./op.js";
import type { OpName } from "./ops/index.js";
import type { Plan } from "./plan.js";
import type { TensorType } from "./shape.js";

/** Memory of a backend. What it holds is the backend's own affair. */
export interface Buffer {
  readonly bytes: number;
}

/** A range of a buffer. */
export interface Region {
  readonly buffer: Buffer;
  readonly offset: number;
}

/** One op on operands of given types: what a backend must have code for. */
export interface Kernel {
  readonly op: OpName;
  readonly attrs: Attrs;
  readonly inputs: readonly TensorType[];
  readonly outputs: readonly TensorType[];
}

export interface Capabilities {
  /** The device in words, e.g. its adapter or processor name. */
  readonly device: string;
  /** Types in which tensors can be stored; with bf16, weights can be that beside f32 activations. */
  readonly dtypes: readonly DType[];
  /** Types that activations can have. */
  readonly activations: readonly FloatDType[];
  readonly maxBufferBytes: number;
  /** Fused ops (of `fusedOps`) that plans for it are to have, where it supports their operands. Default: none. */
  readonly fused?: readonly OpName[];
}

/** The memory a plan runs in: its arena, its inputs, and its persistent tensors in the plan's order. */
export interface Bindings {
  readonly arena: Buffer;
  readonly inputs: Buffer;
  readonly persistent: readonly Region[];
}

/** A plan made ready to run, again and again, over fixed memory. */
export interface Executable {
  readonly plan: Plan;
}

/**
 * What a device must offer. Ten methods (and one to tell more); everything above them (model, differentiation, memory planning, optimizer,
 * training) is the same for all. Errors: `prepare` rejects what the backend cannot run, before anything has run.
 */
export interface Backend {
  readonly name: string;
  readonly capabilities: Capabilities;
  /** True, or in words why the kernel cannot be run here. */
  supports(kernel: Kernel): true | string;
  /** Makes the kernel's code ready; `prepare` does it for all of a plan's kernels. */
  compile(kernel: Kernel): Promise<void>;
  /** Zeroed memory. Throws a BackendError if there is not enough. */
  allocate(bytes: number): Buffer;
  free(buffer: Buffer): void;
  /** Copies `data` to `offset` (bytes) of the buffer; done, for every later run and read, when the promise is. */
  write(buffer: Buffer, offset: number, data: ArrayBufferView): Promise<void>;
  read(buffer: Buffer, offset: number, bytes: number): Promise<Uint8Array<ArrayBuffer>>;
  prepare(plan: Plan, bindings: Bindings): Promise<Executable>;
  run(executable: Executable, signal?: AbortSignal): Promise<void>;
  /** Frees everything; the process may then exit. */
  close(): Promise<void>;
  /** Bytes that `prepare` needs beside the bindings, such as panels of logits; prepared plans may share them. Default: not known. */
  workspaceBytes?(plan: Plan): number;
}

/** A backend cannot do what was asked: out of memory, a missing kernel, a lost device. */
export class BackendError extends Error {
  override readonly name = "BackendError";
}

/** There is not enough memory. The backend works on; what was allocated for what failed has been given back. */
export class OutOfMemoryError extends BackendError {}

/** The device is gone (a kernel that failed, a reset driver). Nothing on it can be used; what was saved before is whole. */
export class DeviceLostError extends BackendError {}
