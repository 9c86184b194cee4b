import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { measureJavaScriptPeaks, type Peaks } from "./peaks.js";

export interface BenchBackend {
  readonly create: () => Promise<Backend>;
  /** The roof its kernels are measured against, on this machine, now. */
  readonly peaks: () => Peaks;
}

/** What can be timed. A new backend is a line here. */
export const backends: Readonly<Record<string, BenchBackend>> = {
  reference: { create: async () => createReferenceBackend(), peaks: measureJavaScriptPeaks },
};
