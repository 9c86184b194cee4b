import { availableParallelism } from "node:os";
import { BackendError } from "@slayer/tensor";

export interface CpuOptions {
  /** Threads to compute with. Default: SLAYER_THREADS, or as many as the system offers this process. */
  readonly threads?: number;
  /** An instruction set by name, to test slower ones: avx512, avx2, neon or portable. Default: SLAYER_ISA, or the fastest. */
  readonly isa?: string;
}

const MAX_THREADS = 1024;

/** Throws a BackendError if what was asked for is no number of threads. */
export function threadsFrom({ threads }: CpuOptions, { SLAYER_THREADS }: NodeJS.ProcessEnv): number {
  const [from, asked] = threads === undefined ? ["SLAYER_THREADS", SLAYER_THREADS || undefined] : ["threads", threads];
  if (asked === undefined) return availableParallelism();
  const n = Number(asked);
  if (Number.isInteger(n) && n >= 1 && n <= MAX_THREADS) return n;
  throw new BackendError(`cpu: ${from} must be an integer from 1 to ${MAX_THREADS}, got ${JSON.stringify(asked)}`);
}

/** One of `available` (fastest first). Throws a BackendError if what was asked for is none of them. */
export function isaFrom<Isa extends { readonly name: string }>(
  { isa }: CpuOptions,
  { SLAYER_ISA }: NodeJS.ProcessEnv,
  available: readonly Isa[],
): Isa {
  const asked = isa ?? (SLAYER_ISA || undefined);
  const found = asked === undefined ? available[0] : available.find(({ name }) => name === asked);
  if (found !== undefined) return found;
  const names = available.map(({ name }) => name).join(", ");
  throw new BackendError(`cpu: no instruction set '${asked}' on this processor; there is ${names}`);
}
