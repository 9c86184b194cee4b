import { loadAddon } from "./native.js";
import { type CpuOptions, isaFrom, threadsFrom } from "./options.js";

/** What this machine can do at most, by measurement: samples, of all threads together. */
export interface CpuPeaks {
  readonly isa: string;
  readonly threads: number;
  /** Operations per second of independent multiply-adds in registers, each counted as two. */
  readonly fma: readonly number[];
  /** Bytes per second of a copy far larger than any cache, read and written ones both counted (STREAM's copy). */
  readonly copy: readonly number[];
}

const COPY_BYTES = 2 ** 28;

/**
 * Measures the roof under which kernels of an instruction set work: multiply-adds and copying, for about `seconds` each. For
 * benchmarks: it blocks the event loop. Throws an AddonMissingError, or a BackendError for options that make no sense.
 */
export function measureCpuPeaks(options: CpuOptions = {}, seconds = 0.3): CpuPeaks {
  const addon = loadAddon();
  const isa = isaFrom(options, process.env, addon.isas()).name;
  const threads = threadsFrom(options, process.env);
  const { fma, copy } = addon.measurePeaks(isa, threads, COPY_BYTES, seconds);
  return { isa, threads, fma: [...fma], copy: [...copy] };
}
