import { BackendError } from "@slayer/tensor";

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

/** What the addon throws, as one of this package's errors. */
export function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof BackendError || cause instanceof CudaUnavailableError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = unavailable.find((known) => known === code);
    if (reason !== undefined) throw new CudaUnavailableError(reason, message, { cause });
    throw new BackendError(`cuda: ${message}`, { cause });
  }
}
