import { cpus, totalmem } from "node:os";
import {
  type Backend,
  BackendError,
  type Buffer,
  type Executable,
  flattenPlan,
  OutOfMemoryError,
} from "@slayer/tensor";
import { loadAddon, type NativeBuffer, type NativeExecutable } from "./native.js";
import { type CpuOptions, isaFrom, threadsFrom } from "./options.js";
import { supports } from "./supports.js";

class CpuBuffer implements Buffer {
  readonly bytes: number;
  readonly native: NativeBuffer;
  constructor(bytes: number, native: NativeBuffer) {
    this.bytes = bytes;
    this.native = native;
  }
}

interface CpuExecutable extends Executable {
  readonly native: NativeExecutable;
}

/** The names of the instruction sets that this processor has kernels for, fastest first. Throws an AddonMissingError. */
export function availableIsas(): string[] {
  return loadAddon()
    .isas()
    .map(({ name }) => name);
}

/**
 * A backend that runs whole plans natively, on threads of its own: f32 arithmetic on weights in f32 or bf16, SIMD kernels chosen
 * for the processor.
 * An abort takes effect between two steps. Results are deterministic for a given number of threads.
 *
 * Rejects with an AddonMissingError where the addon cannot be loaded, and with a BackendError for options that make no sense.
 */
export async function createCpuBackend(options: CpuOptions = {}): Promise<Backend> {
  const addon = loadAddon();
  const isa = isaFrom(options, process.env, addon.isas());
  const threads = threadsFrom(options, process.env);
  const session = attempt(() => new addon.Session(isa.name, threads));
  const buffers = new Set<CpuBuffer>();
  const running = new Map<number, Promise<void>>();
  let closed = false;

  const own = (buffer: Buffer): NativeBuffer => {
    if (buffer instanceof CpuBuffer) return buffer.native;
    throw new BackendError("cpu: the buffer is another backend's");
  };
  const checkOpen = () => {
    if (closed) throw new BackendError("cpu: the backend is closed");
  };

  return {
    name: "cpu",
    capabilities: {
      device: `${cpus()[0]?.model ?? process.arch}, ${isa.name}, ${threads} ${threads === 1 ? "thread" : "threads"}`,
      dtypes: ["f32", "bf16", "i32"],
      activations: ["f32"],
      maxBufferBytes: totalmem(),
      fused: ["lm_head_loss_with_gradient", "rmsnorm_backward_input_add"],
    },
    supports: (kernel) => supports(kernel, isa),
    compile: async () => {},

    allocate(bytes) {
      checkOpen();
      const most = totalmem();
      if (bytes > most) throw new OutOfMemoryError(`cpu: one buffer of ${bytes} bytes is beyond the memory of ${most}`);
      let native: NativeBuffer;
      try {
        native = new addon.Buffer(bytes);
      } catch (cause) {
        throw new OutOfMemoryError(`cpu: ${(cause as Error).message}`, { cause });
      }
      const buffer = new CpuBuffer(bytes, native);
      buffers.add(buffer);
      return buffer;
    },
    free(buffer) {
      own(buffer).free();
      buffers.delete(buffer as CpuBuffer);
    },
    async write(buffer, offset, data) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      attempt(() => own(buffer).write(offset, bytes));
    },
    read: async (buffer, offset, bytes) => attempt(() => own(buffer).read(offset, bytes)),

    async prepare(plan, bindings): Promise<CpuExecutable> {
      checkOpen();
      for (const [i, step] of plan.steps.entries()) {
        const answer = supports(step, isa);
        if (answer !== true) throw new BackendError(`cpu: step ${i}: ${answer}`);
      }
      const { steps, buffers: used } = flattenPlan(plan, bindings, "cpu");
      return { plan, native: attempt(() => session.prepare(steps, used.map(own))) };
    },
    async run(executable, signal) {
      checkOpen();
      signal?.throwIfAborted();
      let run = -1;
      const abort = () => session.cancel(run);
      const ended = new Promise<void>((resolve, reject) => {
        run = attempt(() =>
          session.run((executable as CpuExecutable).native, (outcome, message) => {
            running.delete(run);
            signal?.removeEventListener("abort", abort);
            if (outcome === "done") resolve();
            else if (outcome === "failed") reject(new BackendError(`cpu: ${message}`));
            // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- the signal's reason is what callers expect
            else reject(signal?.aborted ? signal.reason : new BackendError("cpu: the backend was closed during a run"));
          }),
        );
      });
      running.set(run, ended);
      signal?.addEventListener("abort", abort);
      return ended;
    },
    async close() {
      if (closed) return;
      closed = true;
      for (const run of running.keys()) session.cancel(run);
      await Promise.allSettled(running.values());
      session.close();
      for (const buffer of buffers) buffer.native.free();
      buffers.clear();
    },
  };
}

/** What the addon throws, as a BackendError. */
function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof BackendError) throw cause;
    throw new BackendError(`cpu: ${(cause as Error).message}`, { cause });
  }
}
