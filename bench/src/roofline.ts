import type { Cost } from "@slayer/tensor";
import type { Peaks } from "./peaks.js";

/** What limits a kernel at best, and how near to it a time comes (Williams et al. 2009). */
export interface Roofline {
  readonly bound: "compute" | "memory";
  /** Matrix-product FLOP/s; 0 for ops without any. */
  readonly flops: number;
  /** Bytes/s, each operand counted once. */
  readonly bandwidth: number;
  /** Of the peak that binds: 1 is the best there can be. */
  readonly share: number;
}

/** Only matrix products count as compute: the least time is theirs, or that of moving each operand once. */
export function roofline({ matmulFlops, bytes }: Cost, seconds: number, peaks: Peaks): Roofline {
  const compute = matmulFlops / peaks.flops;
  const memory = bytes / peaks.bandwidth;
  return {
    bound: compute > memory ? "compute" : "memory",
    flops: matmulFlops / seconds,
    bandwidth: bytes / seconds,
    share: Math.max(compute, memory) / seconds,
  };
}
