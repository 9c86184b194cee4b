import { byteLength, Graph, copy as recordCopy, makePlan } from "@slayer/tensor";
import { createCudaBackend } from "./backend.js";
import { attempt, failure } from "./errors.js";
import { loadAddon } from "./native.js";
import { type CudaOptions, deviceFrom } from "./options.js";

export interface CudaPeaks {
  /** f32 operations per second of the ordinary cores, a multiply-add counted as two; one number per sample. */
  readonly flops: readonly number[];
  /** Bytes per second of a copy, read and written ones both counted; one number per sample. */
  readonly bandwidth: readonly number[];
}

const SAMPLES = 7;
/** Blocks of 256 threads that a multiprocessor holds at most, and what a round of a thread computes (kernels/cuda/peak_fma.cu). */
const BLOCKS = 8;
const FLOPS_PER_ROUND = 256 * 16 * 2;
/** A sample lasts about this long, so that what a launch costs the host does not count. */
const SECONDS = 0.02;
/** Several times any cache. */
const COPY_BYTES = 2 ** 30;

/**
 * What the device reaches at most, by measurement: the roof its kernels are measured against. `copyBytes` of a bf16 tensor are read, as
 * many written. Rejects as createCudaBackend, and where the memory for the copy is not there.
 */
export async function measureCudaPeaks(options: CudaOptions = {}, copyBytes: number = COPY_BYTES): Promise<CudaPeaks> {
  return { flops: await chains(options), bandwidth: await copies(options, copyBytes) };
}

async function chains(options: CudaOptions): Promise<number[]> {
  const device = deviceFrom(options);
  const { addon, kernels } = loadAddon();
  const session = attempt(() => new addon.Session(device, kernels));
  try {
    const blocks = BLOCKS * session.describe().multiprocessors;
    return await sampled(async (rounds) => {
      const executable = attempt(() => session.chains(blocks, rounds));
      const run = () =>
        new Promise<void>((resolve, reject) => {
          session.run(executable, (outcome, message, code) =>
            outcome === "done" ? resolve() : reject(failure(code, message)),
          );
        });
      return { run, amount: blocks * FLOPS_PER_ROUND * rounds };
    }, 64);
  } finally {
    session.close();
  }
}

async function copies(options: CudaOptions, bytes: number): Promise<number[]> {
  const backend = await createCudaBackend(options);
  try {
    const graph = new Graph();
    const [to, from] = ["to", "from"].map((name) => graph.state(name, [bytes / 2], "bf16")) as [never, never];
    recordCopy(to, from);
    const plan = makePlan(graph, {});
    const [arena, inputs] = [backend.allocate(plan.arenaBytes), backend.allocate(plan.inputBytes)];
    const persistent = plan.persistent.map((t) => ({ buffer: backend.allocate(byteLength(t)), offset: 0 }));
    return await sampled(async (repeats) => {
      const steps = Array.from({ length: repeats }, () => plan.steps[0]!);
      const executable = await backend.prepare({ ...plan, steps }, { arena, inputs, persistent });
      return { run: () => backend.run(executable), amount: 2 * bytes * repeats };
    }, 1);
  } finally {
    await backend.close();
  }
}

/** Amounts per second. `make(n)` gives work of size n; the first size is `least`, the size that is timed the one that lasts long enough. */
async function sampled(
  make: (size: number) => Promise<{ run: () => Promise<void>; amount: number }>,
  least: number,
): Promise<number[]> {
  const timed = async (run: () => Promise<void>) => {
    const start = performance.now();
    await run();
    return (performance.now() - start) / 1000;
  };
  const first = await make(least);
  await first.run();
  const seconds = await timed(first.run);
  const { run, amount } = await make(least * Math.max(1, Math.min(4096, Math.round(SECONDS / seconds))));
  await run();
  const rates: number[] = [];
  for (let i = 0; i < SAMPLES; i++) rates.push(amount / (await timed(run)));
  return rates;
}
