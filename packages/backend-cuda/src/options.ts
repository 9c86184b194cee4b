import { BackendError, type TuningStore } from "@slayer/tensor";

export interface CudaOptions {
  /** Number of the GPU, as the driver counts them. Default 0. */
  readonly device?: number;
  /** Where to keep which way to compute a matrix product was the fastest: with it, `prepare` measures those it has not seen. */
  readonly tuning?: TuningStore;
}

/** Throws a BackendError if what was asked for is no number of a device. */
export function deviceFrom({ device = 0 }: CudaOptions): number {
  if (Number.isInteger(device) && device >= 0 && device < 1024) return device;
  throw new BackendError(`cuda: device must be an integer from 0, got ${JSON.stringify(device)}`);
}
