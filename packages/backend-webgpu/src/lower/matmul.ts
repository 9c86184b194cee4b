import { size } from "@slayer/tensor";
import matmulKernel from "../../../../kernels/matmul/matmul.wgsl";
import matrixKernel from "../../../../kernels/matmul/matmul_matrix.wgsl";
import packKernel from "../../../../kernels/matmul/matmul_pack.wgsl";
import rowsKernel from "../../../../kernels/matmul/matmul_rows.wgsl";
import thinKernel from "../../../../kernels/matmul/matmul_thin.wgsl";
import type { MatrixUnit } from "../variants.js";
import { type Lowering, PANEL_ROWS, type Range, windowOf } from "../lowering.js";

/** C [m, n] = op(A)·op(B), or C += …; matrices without gaps between rows. */
export interface Product {
  readonly a: Range;
  readonly b: Range;
  readonly c: Range;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** A lies [k, m]. */
  readonly transposeA: boolean;
  /** B lies [n, k]. */
  readonly transposeB: boolean;
  readonly accumulate?: boolean;
}

/** Emits a product, in panels where a matrix is larger than a binding. */
export function product(lowering: Lowering, whole: Product): void {
  const { m, n, k, transposeA, transposeB, accumulate = false } = whole;
  // A panel's window may begin up to PANEL_ROWS elements early.
  const elements = Math.max(1, Math.floor(lowering.device.bindingBytes / 4) - PANEL_ROWS);
  const most = (...rowLengths: number[]) => Math.max(1, Math.floor(elements / Math.max(...rowLengths)));
  const rows = Math.min(m, most(n, transposeA ? 1 : k));
  const columns = Math.min(n, transposeB ? wholeVectors(most(k)) : n);
  const depth = Math.min(k, transposeA ? most(m) : k, transposeB ? k : most(n));
  for (let row = 0; row < m; row += rows) {
    for (let column = 0; column < n; column += columns) {
      for (let from = 0; from < k; from += depth) {
        panel(lowering, whole, {
          row,
          column,
          from,
          rows: Math.min(rows, m - row),
          columns: Math.min(columns, n - column),
          depth: Math.min(depth, k - from),
          accumulate: accumulate || from > 0,
        });
      }
    }
  }
}

/** B may be packed in rows padded to vectors. */
const wholeVectors = (columns: number) => (columns < 4 ? columns : columns - (columns % 4));

interface Panel {
  readonly row: number;
  readonly column: number;
  readonly from: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly accumulate: boolean;
}

function panel(lowering: Lowering, whole: Product, at: Panel): void {
  const { transposeA, transposeB } = whole;
  const [lda, ldb, ldc] = [transposeA ? whole.m : whole.k, transposeB ? whole.k : whole.n, whole.n];
  const a = transposeA
    ? matrix(whole.a, lda, at.from, at.depth, at.row, at.rows)
    : matrix(whole.a, lda, at.row, at.rows, at.from, at.depth);
  const b = transposeB
    ? matrix(whole.b, ldb, at.column, at.columns, at.from, at.depth)
    : matrix(whole.b, ldb, at.from, at.depth, at.column, at.columns);
  const c = matrix(whole.c, ldc, at.row, at.rows, at.column, at.columns);
  const params = {
    m: at.rows,
    n: at.columns,
    k: at.depth,
    lda,
    ldb,
    ldc,
    a_base: a.base,
    b_base: b.base,
    c_base: c.base,
    accumulate: Number(at.accumulate),
  };
  const ranges = [a.range, b.range, c.range] as const;
  // On the processor a thread per four columns of B needs no sum over a workgroup, if it can read B as it lies.
  const thinOnProcessor = lowering.device.software && inVectors(params.k, ldb, b.base);
  if (!transposeA && transposeB && at.rows <= THIN && !thinOnProcessor) thin(lowering, params, ranges);
  else inVariant(lowering, transposeA, transposeB, params, ranges);
}

/** Up to so many rows a product is bound by reading B once. */
const THIN = 4;

type Params = Record<"m" | "n" | "k" | "lda" | "ldb" | "ldc" | "a_base" | "b_base" | "c_base" | "accumulate", number>;
type Ranges = readonly [a: Range, b: Range, c: Range];

const typesOf = ([a, b]: Ranges) => [...(a.half ? ["A_BF16"] : []), ...(b.half ? ["B_BF16"] : [])];

function thin(lowering: Lowering, params: Params, ranges: Ranges): void {
  lowering.emit(thinKernel, {
    flags: typesOf(ranges),
    constants: { WORKGROUP: lowering.workgroup(64) },
    params,
    ranges,
    groups: lowering.grid(params.m * params.n),
  });
}

function inVariant(lowering: Lowering, transposeA: boolean, transposeB: boolean, params: Params, ranges: Ranges): void {
  const { m, n, k } = params;
  const [bf16A, bf16B] = [ranges[0].half === true, ranges[1].half === true];
  const variant = lowering.device.variant({ m, n, k, transposeA, transposeB, bf16A, bf16B });
  switch (variant) {
    case "rows":
      byRows(lowering, transposeA, transposeB, params, ranges);
      return;
    case "tiled4":
    case "half4":
      tiled(lowering, 4, variant === "half4", transposeA, transposeB, params, ranges);
      return;
    case "tiled8":
    case "half8":
      tiled(lowering, 8, variant === "half8", transposeA, transposeB, params, ranges);
      return;
    case "matrix":
      onUnits(lowering, lowering.device.matrixUnit!, [], transposeA, transposeB, params, ranges);
      return;
    case "emulated":
      onUnits(lowering, EMULATED, ["EMULATED"], transposeA, transposeB, params, ranges);
      return;
    default:
      variant satisfies never;
  }
}

function tiled(
  lowering: Lowering,
  tile: 4 | 8,
  half: boolean,
  transposeA: boolean,
  transposeB: boolean,
  params: Params,
  ranges: Ranges,
): void {
  lowering.emit(matmulKernel, {
    flags: [
      transposeA ? "TRANSPOSE_A" : "",
      transposeB ? "TRANSPOSE_B" : "",
      !ranges[0].half && inVectors(transposeA ? params.m : params.k, params.lda, params.a_base) ? "A_VEC4" : "",
      !ranges[1].half && inVectors(transposeB ? params.k : params.n, params.ldb, params.b_base) ? "B_VEC4" : "",
      lowering.device.software ? "ROLLED" : "",
      half ? "HALF" : "",
      ...typesOf(ranges),
    ].filter(Boolean),
    constants: { TM: tile, TN: tile },
    params,
    ranges,
    groups: [Math.ceil(params.n / (16 * tile)), Math.ceil(params.m / (16 * tile)), 1],
  });
}

const EMULATED: MatrixUnit = { m: 16, n: 32, k: 8, half: false, lanes: 32, feature: "" };
/** Results of a workgroup in either direction. */
const UNITS_TILE = 64;

function onUnits(
  lowering: Lowering,
  unit: MatrixUnit,
  flags: readonly string[],
  transposeA: boolean,
  transposeB: boolean,
  params: Params,
  ranges: Ranges,
): void {
  lowering.emit(matrixKernel, {
    flags: [
      ...flags,
      unit.half ? "HALF" : "",
      unit.feature === "subgroup-matrix" ? "UNPREFIXED" : "",
      transposeA ? "TRANSPOSE_A" : "",
      transposeB ? "TRANSPOSE_B" : "",
      ...typesOf(ranges),
    ],
    constants: { UNIT_M: unit.m, UNIT_N: unit.n, UNIT_K: unit.k, SUBGROUP: unit.lanes },
    params,
    ranges,
    groups: [Math.ceil(params.n / UNITS_TILE), Math.ceil(params.m / UNITS_TILE), 1],
  });
}

/** Whether a matrix's rows can be read four elements at a time: their length, their distance, and where the first begins. */
const inVectors = (...counts: number[]): boolean => counts.every((count) => count % 4 === 0);

const COLUMNS_PER_GROUP = 128;

/** With B packed first, where it cannot be read as vectors. */
function byRows(lowering: Lowering, transposeA: boolean, transposeB: boolean, params: Params, [a, b, c]: Ranges): void {
  const { m, n, k, lda, ldb, a_base, b_base } = params;
  const lies = transposeB ? inVectors(k, ldb, b_base) : !b.half && inVectors(n, ldb, b_base);
  const packed = { n, k, ldb, b_base, stride: Math.ceil(n / 4) * 4 };
  const vectors = lies ? b : lowering.scratch(4 * k * packed.stride);
  if (!lies) {
    lowering.emit(packKernel, {
      flags: [...(transposeB ? ["TRANSPOSE_B"] : []), ...(b.half ? ["BF16"] : [])],
      params: packed,
      ranges: [b, vectors],
      groups: [Math.ceil(packed.stride / 8), Math.ceil(k / 8), 1],
    });
  }
  const lanes = m <= THIN ? 1 : (lowering.device.subgroups?.min ?? 1);
  const ROWS = lanes >= 8 ? 16 : lanes >= 4 ? 8 : Math.min(m, 8);
  lowering.emit(rowsKernel, {
    flags: [
      transposeA ? "TRANSPOSE_A" : "",
      !transposeA && inVectors(k, lda, a_base) ? "A_VEC4" : "",
      lies && transposeB ? "TRANSPOSE_B" : "",
      lies && b.half ? "B_BF16" : "",
      lanes >= 4 ? "SUBGROUPS" : "",
      lanes >= 8 ? "EIGHT" : "",
    ],
    constants: { ROWS },
    params: { ...params, ...(!lies && { ldb: packed.stride, b_base: 0 }) },
    ranges: [a, vectors, c],
    groups: [Math.ceil(n / COLUMNS_PER_GROUP), Math.ceil(m / ROWS), 1],
  });
}

/** The least window that holds `rows` × `columns` elements of a matrix with rows of `stride`. */
function matrix(range: Range, stride: number, row: number, rows: number, column: number, columns: number) {
  return windowOf(range, row * stride + column, (rows - 1) * stride + columns);
}

/**
 * Matrix `index` of the inputs as the kernels take it: bf16 as it lies, but on the processor, where A is read an element at a time
 * and B is packed first, only B.
 */
function readable(lowering: Lowering, index: 0 | 1): Range {
  return index === 1 || !lowering.device.software ? lowering.stored("input", index) : lowering.input(index);
}

export function lowerMatmul(lowering: Lowering): void {
  const { attrs, inputs, outputs } = lowering.kernel;
  const [transposeA, transposeB] = [attrs.transposeA === true, attrs.transposeB === true];
  const n = outputs[0]!.shape.at(-1)!;
  const m = size(outputs[0]!.shape) / n;
  const k = size(inputs[0]!.shape) / m;
  const [a, b, c] = [readable(lowering, 0), readable(lowering, 1), lowering.output(0)];
  product(lowering, { a, b, c, m, n, k, transposeA, transposeB });
}
