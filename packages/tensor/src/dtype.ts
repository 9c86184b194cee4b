import { roundToBf16, widenBf16 } from "./bf16.js";

/**
 * Element types of tensors. f64 exists for the reference executor only: gradient checks run in it. bf16 is storage: ops
 * compute in f32 and round what they store.
 */
export type DType = "f64" | "f32" | "bf16" | "i32";

export type FloatDType = "f64" | "f32" | "bf16";

/** Values outside a backend. There is no array of bf16: such tensors are read and written as f32. */
export type TypedArray = Float64Array | Float32Array | Int32Array;

/** Bytes of one element. */
export function byteSize(dtype: DType): number {
  switch (dtype) {
    case "f64":
      return 8;
    case "f32":
    case "i32":
      return 4;
    case "bf16":
      return 2;
    default:
      return dtype satisfies never;
  }
}

/** The type of sums over elements of this type, and so of gradients of weights, norms and losses: f32 for bf16. */
export function accumulatorOf(dtype: DType): DType {
  return dtype === "bf16" ? "f32" : dtype;
}

/** A typed view of `length` elements of `buffer` from `byteOffset` on. */
export function viewOf(
  buffer: ArrayBufferLike,
  byteOffset: number,
  dtype: Exclude<DType, "bf16">,
  length: number,
): TypedArray {
  switch (dtype) {
    case "f64":
      return new Float64Array(buffer, byteOffset, length);
    case "f32":
      return new Float32Array(buffer, byteOffset, length);
    case "i32":
      return new Int32Array(buffer, byteOffset, length);
    default:
      return dtype satisfies never;
  }
}

/** The `length` values of a tensor's bytes; bf16 widened to f32, which is exact. */
export function decode(bytes: Uint8Array, dtype: DType, length: number): TypedArray {
  const { buffer, byteOffset } = bytes;
  return dtype === "bf16"
    ? widenBf16(new Uint16Array(buffer, byteOffset, length))
    : viewOf(buffer, byteOffset, dtype, length);
}

/** What to write for values of a tensor: themselves, but for bf16, to which f32 is rounded and raw bits pass as they are. */
export function encode(values: TypedArray | Uint16Array, dtype: DType): TypedArray | Uint16Array {
  return dtype === "bf16" && values instanceof Float32Array ? roundToBf16(values) : values;
}

/** Whether `values` are what a tensor of this type is written from. */
export function isOf(values: TypedArray | Uint16Array, dtype: DType): boolean {
  switch (dtype) {
    case "f64":
      return values instanceof Float64Array;
    case "f32":
      return values instanceof Float32Array;
    case "bf16":
      return values instanceof Float32Array || values instanceof Uint16Array;
    case "i32":
      return values instanceof Int32Array;
    default:
      return dtype satisfies never;
  }
}
