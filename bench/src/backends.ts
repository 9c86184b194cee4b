import { availableIsas, createCpuBackend, measureCpuPeaks } from "@slayer/backend-cpu";
import { createCudaBackend, measureCudaPeaks } from "@slayer/backend-cuda";
import { createWebgpuBackend, measureWebgpuPeaks } from "@slayer/backend-webgpu";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { measureJavaScriptPeaks, type Peaks, rate } from "./peaks.js";

export interface BenchBackend {
  readonly create: () => Promise<Backend>;
  /** The roof its kernels are measured against, on this machine, now. */
  readonly peaks: () => Peaks | Promise<Peaks>;
}

/** What can be timed. A new backend is a line here. */
export const backends: Readonly<Record<string, BenchBackend>> = {
  reference: { create: async () => createReferenceBackend(), peaks: measureJavaScriptPeaks },
  cpu: { create: () => createCpuBackend(), peaks: measureProcessorPeaks },
  cuda: { create: () => createCudaBackend(), peaks: measureGpuPeaks },
  webgpu: { create: () => createWebgpuBackend(), peaks: measureAdapterPeaks },
};

/** Those of the instruction set that is used, and beside them the multiply-adds of all that the processor has. */
function measureProcessorPeaks(): Peaks {
  const used = measureCpuPeaks();
  const all = availableIsas().flatMap((isa) =>
    [...new Set([1, used.threads])].map((threads) => {
      const { fma } = isa === used.isa && threads === used.threads ? used : measureCpuPeaks({ isa, threads }, 0.1);
      return { name: `${isa}, ${threads} ${threads === 1 ? "thread" : "threads"}`, ...rate(fma) };
    }),
  );
  return {
    flops: rate(used.fma).best,
    bandwidth: rate(used.copy).best,
    method:
      `${used.isa}, ${used.threads} threads: twelve independent multiply-add chains in registers, and a copy of 256 MiB with ` +
      "plain loads and stores, read and written bytes both counted; the quickest tenth",
    details: [
      ...all.map((p) => ({ ...p, what: "flops" as const })),
      { name: "copy", what: "bandwidth", ...rate(used.copy) },
    ],
  };
}

/** Of the ordinary cores, in f32. */
async function measureGpuPeaks(): Promise<Peaks> {
  return peaksOfChains(
    "sixteen independent multiply-add chains per thread, and a copy of 1 GiB; the quickest tenth",
    await measureCudaPeaks(),
  );
}

/** In f32. */
async function measureAdapterPeaks(): Promise<Peaks> {
  return peaksOfChains(
    "eight independent multiply-add chains of vectors of four per thread, and a copy of 128 MiB; the quickest tenth",
    await measureWebgpuPeaks(),
  );
}

function peaksOfChains(
  method: string,
  { flops, bandwidth }: { readonly flops: readonly number[]; readonly bandwidth: readonly number[] },
): Peaks {
  return {
    flops: rate(flops).best,
    bandwidth: rate(bandwidth).best,
    method,
    details: [
      { name: "chains", what: "flops", ...rate(flops) },
      { name: "copy", what: "bandwidth", ...rate(bandwidth) },
    ],
  };
}
