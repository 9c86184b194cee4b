import type { DType } from "./dtype.js";
import { byteSize } from "./dtype.js";

/** Extents, outermost first; row-major and contiguous throughout. */
export type Shape = readonly number[];

/** What an op's shape rule sees of a tensor. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** An operand's shape or type does not fit the op. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
}

/** Number of elements. */
export function size(shape: Shape): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

export function byteLength(type: TensorType): number {
  return size(type.shape) * byteSize(type.dtype);
}

/** Product of all extents but the last: a tensor [..., D] seen as a matrix has this many rows. */
export function rows(shape: Shape): number {
  return size(shape.slice(0, -1));
}

/** The last extent. */
export function columns(shape: Shape): number {
  return shape[shape.length - 1]!;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** Equal as matrices [rows, columns]: all that ops need of a gradient, whose leading dims may have been merged. */
export function sameMatrix(a: Shape, b: Shape): boolean {
  return rows(a) === rows(b) && columns(a) === columns(b);
}

export function sameDType(...types: readonly TensorType[]): boolean {
  return types.every((t) => t.dtype === types[0]!.dtype);
}

/** Whether an op may take these together: all of one type, or f32 and bf16, which it computes in f32. */
export function compatible(...types: readonly TensorType[]): boolean {
  return sameDType(...types) || types.every((t) => t.dtype === "f32" || t.dtype === "bf16");
}

export function formatType(t: TensorType): string {
  return `${t.dtype}[${t.shape.join(",")}]`;
}

/** Throws a ShapeError unless `condition`; `wanted` says what the op needs, the types what came. */
export function expectShape(condition: boolean, op: string, wanted: string, ...got: TensorType[]): void {
  if (!condition) throw new ShapeError(`${op}: wanted ${wanted}, got ${got.map(formatType).join(", ")}`);
}
