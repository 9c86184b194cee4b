import { BackendError, DeviceLostError, OutOfMemoryError } from "@slayer/tensor";

/** Why there is no CUDA here. The addon's own errors carry these as their `code`. */
const unavailable = ["no-addon", "no-driver", "old-driver", "no-device", "wrong-architecture", "no-kernels"] as const;

export type UnavailableReason = (typeof unavailable)[number];

/** CUDA cannot be used on this machine as it is. The message says what was found, and what helps. */
export class CudaUnavailableError extends Error {
  override readonly name = "CudaUnavailableError";
  readonly reason: UnavailableReason;
  constructor(reason: UnavailableReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** An error of the addon, which it tells by a code, as one of this package's. */
export function failure(code: string | undefined, message: string, cause?: unknown): Error {
  const reason = unavailable.find((known) => known === code);
  if (reason !== undefined) return new CudaUnavailableError(reason, message, { cause });
  if (code === "out-of-memory") return new OutOfMemoryError(`cuda: ${message}`, { cause });
  if (code === "lost") {
    return new DeviceLostError(`cuda: ${message}; what was saved before is whole, go on from there in a new process`, {
      cause,
    });
  }
  return new BackendError(`cuda: ${message}`, { cause });
}

/** What the addon throws, as one of this package's errors. */
export function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof BackendError || cause instanceof CudaUnavailableError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw failure(code, message, cause);
  }
}
