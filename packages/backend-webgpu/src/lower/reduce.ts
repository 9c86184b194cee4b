import { size } from "@slayer/tensor";
import sumRowsKernel from "../../../../kernels/add-bias/sum_rows.wgsl";
import clipFactorKernel from "../../../../kernels/optimizer/clip_factor.wgsl";
import rmsnormKernel from "../../../../kernels/rmsnorm/rmsnorm.wgsl";
import rmsnormBackwardInputKernel from "../../../../kernels/rmsnorm/rmsnorm_backward_input.wgsl";
import rmsnormBackwardWeightKernel from "../../../../kernels/rmsnorm/rmsnorm_backward_weight.wgsl";
import sumKernel from "../../../../kernels/sum/sum.wgsl";
import { type Lowering, part, type Range } from "../lowering.js";
import type { KernelSource } from "../specialise.js";
import { number } from "./elementwise.js";

const SUM_GROUPS = 256;

export const lowerSum = (lowering: Lowering): void => sumOf(lowering, []);

export const lowerSumOfSquares = (lowering: Lowering): void => sumOf(lowering, ["SQUARES"]);

/** Partial sums of each panel, then their sum. */
function sumOf(lowering: Lowering, flags: string[]): void {
  const x = lowering.input(0);
  const count = x.bytes / 4;
  const WORKGROUP = lowering.workgroup();
  const panels: [from: number, count: number, groups: number][] = [];
  lowering.panels(count, 1, (from, n) => panels.push([from, n, Math.min(SUM_GROUPS, Math.ceil(n / WORKGROUP / 4))]));
  const total = panels.reduce((sum, [, , groups]) => sum + groups, 0);
  const partial = total === 1 ? lowering.output(0) : lowering.scratch(4 * total);
  let first = 0;
  for (const [from, n, groups] of panels) {
    lowering.emit(sumKernel, {
      flags,
      constants: { WORKGROUP },
      params: { count: n, first },
      ranges: [part(x, from, n), partial],
      groups: [groups, 1, 1],
    });
    first += groups;
  }
  if (total === 1) return;
  lowering.emit(sumKernel, {
    constants: { WORKGROUP },
    params: { count: total, first: 0 },
    ranges: [partial, lowering.output(0)],
    groups: [1, 1, 1],
  });
}

export function lowerSumRows(lowering: Lowering): void {
  columnSums(lowering, sumRowsKernel, [lowering.input(0)]);
}

export function lowerRmsnormBackwardWeight(lowering: Lowering): void {
  const [dy, x, r] = [lowering.input(0), lowering.input(1), lowering.input(2)];
  columnSums(lowering, rmsnormBackwardWeightKernel, [dy, x], r);
}

const ROWS_PER_GROUP = 64;
const ROW_GROUPS = 64;

/** Sums over the rows of `matrices`, in groups of rows and then of the groups' sums. `perRow`: one element per row. */
function columnSums(lowering: Lowering, kernel: KernelSource, matrices: readonly Range[], perRow?: Range): void {
  const columns = lowering.kernel.outputs[0]!.shape[0]!;
  const rows = matrices[0]!.bytes / 4 / columns;
  const WORKGROUP = lowering.workgroup(64);
  const grid = (groups: number) => [Math.ceil(columns / WORKGROUP), groups, 1] as const;
  const panels: { from: number; count: number; perGroup: number; groups: number }[] = [];
  lowering.panels(rows, columns, (from, count) => {
    const perGroup = Math.max(ROWS_PER_GROUP, Math.ceil(count / ROW_GROUPS));
    panels.push({ from, count, perGroup, groups: Math.ceil(count / perGroup) });
  });
  const total = panels.reduce((sum, { groups }) => sum + groups, 0);
  const partial = total === 1 ? lowering.output(0) : lowering.scratch(4 * total * columns);
  let first = 0;
  for (const { from, count, perGroup, groups } of panels) {
    lowering.emit(kernel, {
      constants: { WORKGROUP },
      params: { rows: count, columns, rows_per_group: perGroup, first },
      ranges: [
        ...matrices.map((range) => part(range, from * columns, count * columns)),
        ...(perRow ? [part(perRow, from, count)] : []),
        partial,
      ],
      groups: grid(groups),
    });
    first += groups;
  }
  if (total === 1) return;
  lowering.emit(sumRowsKernel, {
    constants: { WORKGROUP },
    params: { rows: total, columns, rows_per_group: total, first: 0 },
    ranges: [partial, lowering.output(0)],
    groups: grid(1),
  });
}

export function lowerRmsnorm(lowering: Lowering): void {
  const { attrs, inputs } = lowering.kernel;
  const columns = inputs[1]!.shape[0]!;
  const [x, weight, y, r] = [lowering.input(0), lowering.input(1), lowering.output(0), lowering.output(1)];
  lowering.panels(size(inputs[0]!.shape) / columns, columns, (from, rows) => {
    const matrix = (range: Range) => part(range, from * columns, rows * columns);
    lowering.emit(rmsnormKernel, {
      constants: { WORKGROUP: rowWorkgroup(lowering, columns) },
      params: { rows, columns, eps: number(attrs, "eps") },
      ranges: [matrix(x), weight, matrix(y), part(r, from, rows)],
      groups: lowering.grid(rows),
    });
  });
}

export function lowerRmsnormBackwardInput(lowering: Lowering): void {
  const columns = size(lowering.kernel.inputs[2]!.shape);
  const [dy, x, weight, r] = [lowering.input(0), lowering.input(1), lowering.input(2), lowering.input(3)];
  const dx = lowering.output(0);
  lowering.panels(size(lowering.kernel.inputs[3]!.shape), columns, (from, rows) => {
    const matrix = (range: Range) => part(range, from * columns, rows * columns);
    lowering.emit(rmsnormBackwardInputKernel, {
      constants: { WORKGROUP: rowWorkgroup(lowering, columns) },
      params: { rows, columns },
      ranges: [matrix(dy), matrix(x), weight, part(r, from, rows), matrix(dx)],
      groups: lowering.grid(rows),
    });
  });
}

/** Threads for a row of this length: one per four elements, 64 to 256. */
function rowWorkgroup(lowering: Lowering, columns: number): number {
  let size = 64;
  while (size < 256 && size * 4 < columns) size *= 2;
  return lowering.workgroup(size);
}

export function lowerClipFactor(lowering: Lowering): void {
  lowering.emit(clipFactorKernel, {
    params: { max_norm: number(lowering.kernel.attrs, "maxNorm") },
    ranges: [lowering.input(0), lowering.input(1), lowering.output(0), lowering.output(1)],
    groups: [1, 1, 1],
  });
}
