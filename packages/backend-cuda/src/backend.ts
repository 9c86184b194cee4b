import {
  type Backend,
  BackendError,
  type Buffer,
  type Executable,
  flattenPlan,
  fusedOps,
  OutOfMemoryError,
} from "@slayer/tensor";
import { attempt, failure } from "./errors.js";
import { type Done, loadAddon, type NativeBuffer, type NativeExecutable } from "./native.js";
import { type CudaOptions, deviceFrom } from "./options.js";
import { Tuner } from "./tuner.js";

class CudaBuffer implements Buffer {
  readonly bytes: number;
  readonly native: NativeBuffer;
  constructor(bytes: number, native: NativeBuffer) {
    this.bytes = bytes;
    this.native = native;
  }
}

interface CudaExecutable extends Executable {
  readonly native: NativeExecutable;
}

/**
 * A backend on one NVIDIA GPU: bf16 or f32 activations, f32 sums. Plans become CUDA graphs; runs and copies queue on a thread of
 * their own. An abort takes effect between two pieces of a plan. Results are the same each time.
 *
 * Rejects with a CudaUnavailableError where there is no addon, driver, device, or code for the device, and with a BackendError for
 * options that make no sense.
 */
export async function createCudaBackend(options: CudaOptions = {}): Promise<Backend> {
  const device = deviceFrom(options);
  const { addon, kernels } = loadAddon();
  const session = attempt(() => new addon.Session(device, kernels));
  const { name: deviceName, totalBytes } = session.describe();
  const freeBytes = attempt(() => session.freeBytes());
  const buffers = new Set<CudaBuffer>();
  const jobs = new Map<number, Promise<void>>();
  let held = 0;
  let closed = false;

  const own = (buffer: Buffer): NativeBuffer => {
    if (buffer instanceof CudaBuffer) return buffer.native;
    throw new BackendError("cuda: the buffer is another backend's");
  };
  const checkOpen = () => {
    if (closed) throw new BackendError("cuda: the backend is closed");
  };

  /** A job's end as a promise. `start` queues it and returns its number. */
  const finished = async (start: (done: Done) => number, signal?: AbortSignal): Promise<void> => {
    checkOpen();
    signal?.throwIfAborted();
    let job = -1;
    const abort = () => session.cancel(job);
    const ended = new Promise<void>((resolve, reject) => {
      job = attempt(() =>
        start((outcome, message, code) => {
          jobs.delete(job);
          signal?.removeEventListener("abort", abort);
          if (outcome === "done") resolve();
          else if (outcome === "failed") reject(failure(code, message));
          // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- the signal's reason is what callers expect
          else reject(signal?.aborted ? signal.reason : new BackendError("cuda: the backend was closed during a run"));
        }),
      );
    });
    jobs.set(job, ended);
    signal?.addEventListener("abort", abort);
    return ended;
  };

  const tuner = options.tuning && (await Tuner.open(session, options.tuning));
  const prepare: Backend["prepare"] = async (plan, bindings): Promise<CudaExecutable> => {
    checkOpen();
    const { steps, buffers: used } = flattenPlan(plan, bindings, "cuda");
    return { plan, native: attempt(() => session.prepare(steps, used.map(own))) };
  };

  const backend: Backend = {
    name: "cuda",
    capabilities: {
      device: deviceName,
      dtypes: ["f32", "bf16", "i32"],
      activations: ["f32", "bf16"],
      maxBufferBytes: freeBytes, // what others hold is not to be had
      fused: fusedOps,
    },
    supports(kernel) {
      const why = session.supports(kernel);
      return why === "" || `cuda: ${why}`;
    },
    compile: async () => {},
    workspaceBytes: ({ steps }) => session.workspaceBytes(steps),

    allocate(bytes) {
      checkOpen();
      const figures = `this backend holds ${gib(held)} of ${gib(totalBytes)}`;
      if (bytes > totalBytes) throw new OutOfMemoryError(`cuda: one buffer of ${gib(bytes)}: ${figures}`);
      let native: NativeBuffer;
      try {
        native = attempt(() => new addon.Buffer(session, bytes));
      } catch (cause) {
        if (!(cause instanceof OutOfMemoryError)) throw cause;
        throw new OutOfMemoryError(`${cause.message} (${figures})`, { cause });
      }
      const buffer = new CudaBuffer(bytes, native);
      held += bytes;
      buffers.add(buffer);
      return buffer;
    },
    free(buffer) {
      own(buffer).free();
      if (buffers.delete(buffer as CudaBuffer)) held -= buffer.bytes;
    },
    async write(buffer, offset, data) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      await finished((done) => session.write(own(buffer), offset, bytes, done));
    },
    async read(buffer, offset, bytes) {
      const into = new Uint8Array(bytes);
      await finished((done) => session.read(own(buffer), offset, into, done));
      return into;
    },

    async prepare(plan, bindings) {
      checkOpen();
      await tuner?.learn(plan, { ...backend, prepare });
      return prepare(plan, bindings);
    },
    run: (executable, signal) => finished((done) => session.run((executable as CudaExecutable).native, done), signal),
    async close() {
      if (closed) return;
      closed = true;
      for (const job of jobs.keys()) session.cancel(job);
      await Promise.allSettled(jobs.values());
      session.close();
      for (const buffer of buffers) buffer.native.free();
      buffers.clear();
    },
  };
  return backend;
}

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
