import { BackendError, type Buffer, OutOfMemoryError } from "@slayer/tensor";
import { failure } from "./errors.js";

// The values of GPUBufferUsage and GPUMapMode (WebGPU, section "Buffer usages"): Node has no such globals.
const MAP_READ = 0x1;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const STORAGE = 0x80;
const READ_MODE = 0x1;

/** Written and read at most so much at a time: queues and mappings make copies. */
const PIECE_BYTES = 2 ** 26;

export class WebgpuBuffer implements Buffer {
  readonly bytes: number;
  readonly gpu: GPUBuffer;
  /** Resolves to what went wrong when it was made, if anything: WebGPU tells later. */
  readonly problem: Promise<string | undefined>;
  /** Buffers that are of use only as long as this one. */
  readonly dependents = new Set<GPUBuffer>();

  constructor(device: GPUDevice, bytes: number) {
    this.bytes = bytes;
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    this.gpu = device.createBuffer({
      size: Math.max(16, Math.ceil(bytes / 16) * 16),
      usage: STORAGE | COPY_SRC | COPY_DST,
    });
    const problems = Promise.all([device.popErrorScope(), device.popErrorScope()]);
    this.problem = problems.then(
      (found) => found.find((error) => error !== null)?.message,
      () => undefined, // the device is lost, and says so itself
    );
  }

  destroy(): void {
    for (const buffer of [this.gpu, ...this.dependents]) buffer.destroy();
    this.dependents.clear();
  }
}

/** Checks that `bytes` from `offset` on lie inside. */
function checkRange(buffer: Buffer, offset: number, bytes: number): void {
  if (offset % 4 === 0 && offset >= 0 && bytes >= 0 && offset + bytes <= buffer.bytes) return;
  throw failure(
    `${bytes} bytes at ${offset} of a buffer of ${buffer.bytes}: offsets are multiples of 4, ranges inside`,
  );
}

/** Throws an OutOfMemoryError if there was no memory for the buffer. */
export async function checkAllocated(buffer: WebgpuBuffer): Promise<void> {
  const problem = await buffer.problem;
  if (problem === undefined) return;
  throw new OutOfMemoryError(`webgpu: no memory for ${buffer.bytes} bytes: ${problem}`);
}

export async function writeBuffer(
  device: GPUDevice,
  buffer: WebgpuBuffer,
  offset: number,
  data: ArrayBufferView,
): Promise<void> {
  checkRange(buffer, offset, data.byteLength);
  await checkAllocated(buffer);
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
    const piece = bytes.subarray(from, from + PIECE_BYTES);
    const whole = piece.length - (piece.length % 4);
    if (whole > 0) device.queue.writeBuffer(buffer.gpu, offset + from, piece, 0, whole);
    if (whole < piece.length) await writeRest(device, buffer, offset + from + whole, piece.subarray(whole));
    if (bytes.length > PIECE_BYTES) await device.queue.onSubmittedWorkDone(); // else the queue holds a copy of everything
  }
}

/** Fewer than four bytes: WebGPU writes words, and the rest of the word stays as it is. */
async function writeRest(device: GPUDevice, buffer: WebgpuBuffer, offset: number, rest: Uint8Array): Promise<void> {
  const word = await readBuffer(device, buffer, offset, 4);
  word.set(rest);
  device.queue.writeBuffer(buffer.gpu, offset, word);
}

export async function readBuffer(
  device: GPUDevice,
  buffer: WebgpuBuffer,
  offset: number,
  bytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  checkRange(buffer, offset, bytes);
  await checkAllocated(buffer);
  const result = new Uint8Array(bytes);
  for (let from = 0; from < bytes; from += PIECE_BYTES) {
    const count = Math.min(PIECE_BYTES, bytes - from);
    const words = Math.ceil(count / 4) * 4;
    const staging = device.createBuffer({ size: words, usage: MAP_READ | COPY_DST });
    try {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer.gpu, offset + from, staging, 0, words);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(READ_MODE);
      result.set(new Uint8Array(staging.getMappedRange(), 0, count), from);
    } catch (cause) {
      throw cause instanceof BackendError
        ? cause
        : failure(`reading ${bytes} bytes: ${(cause as Error).message}`, cause);
    } finally {
      staging.destroy();
    }
  }
  return result;
}
