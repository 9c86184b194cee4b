import { type Backend, fusedOps } from "@slayer/tensor";
import type { DevicePeaks } from "./device-peaks.js";
import { shapesOf, type Sizes } from "./shapes.js";
import { reached, type Target, targetOf } from "./targets.js";
import { timeOp } from "./time.js";

/** Of one kernel; with a `problem` nothing else. */
export type KernelRow = KernelTime | { readonly name: string; readonly problem: string };

export interface KernelTime {
  readonly name: string;
  readonly problem?: undefined;
  readonly seconds: number;
  /** Interquartile range over the median. */
  readonly spread: number;
  /** Model FLOP/s, and bytes/s with each operand moved once. */
  readonly flops: number;
  readonly bandwidth: number;
  readonly share: number;
  readonly target: (Target & { readonly reached: number }) | undefined;
  /** Relative, of some elements against f64 (spot-check.ts), where they were checked. */
  readonly error: number | undefined;
}

/**
 * Times every shape and prints a line for each: its rate, its share of what bounds it (each operand moved once, model FLOPs), and where there is
 * a target what it reached of that. A kernel that fails is a row with a `problem`.
 */
export async function timeKernels(backend: Backend, sizes: Sizes, peaks: DevicePeaks): Promise<KernelRow[]> {
  const rows: KernelRow[] = [];
  const shapes = shapesOf(sizes);
  // A device that has just begun is cooler, and faster, than one that works: the first is timed twice. If it fails, the second time says so.
  await timeOp(backend, shapes[0]!).catch(() => undefined);
  for (const shape of shapes) {
    if (fusedOps.includes(shape.op) && !backend.capabilities.fused?.includes(shape.op)) continue;
    try {
      const { seconds, spread, cost, error } = await timeOp(backend, shape);
      const fast = shape.inputs.every(({ dtype }) => dtype === "f32") ? peaks.f32 : peaks.bf16;
      const share = Math.max(cost.matmulFlops / fast, cost.bytes / peaks.bandwidth) / seconds;
      const target = targetOf(shape, backend.name);
      const got = target && reached(target, cost.matmulFlops, cost.bytes, seconds, peaks);
      rows.push({
        name: shape.name,
        seconds,
        spread,
        flops: cost.matmulFlops / seconds,
        bandwidth: cost.bytes / seconds,
        share,
        target: target && { ...target, reached: got! },
        error,
      });
      const cells = [
        shape.name.padEnd(44),
        `${(seconds * 1e6).toFixed(1)} µs`.padStart(14),
        `${(cost.matmulFlops / seconds / 1e12).toFixed(1)} TFLOP/s`.padStart(15),
        `${(cost.bytes / seconds / 1e9).toFixed(0)} GB/s`.padStart(11),
        `${(100 * share).toFixed(1)} % of peak`.padStart(16),
        target === undefined ? "" : `${percent(got!)}, target ${percent(target.share)}`.padStart(20),
        `± ${(100 * spread).toFixed(1)} %`,
        error === undefined
          ? ""
          : error <= 2 ** -7
            ? `off by ${error.toExponential(1)}`
            : `WRONG by ${error.toExponential(1)}`,
      ];
      console.log(cells.join("  "));
    } catch (error) {
      rows.push({ name: shape.name, problem: (error as Error).message });
      console.log(`${shape.name}: ${(error as Error).message}`);
    }
  }
  return rows;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
