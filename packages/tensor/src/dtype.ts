/** Element types of tensors. f64 exists for the reference executor only: gradient checks run in it. */
export type DType = "f64" | "f32" | "i32";

export type FloatDType = "f64" | "f32";

export type TypedArray = Float64Array | Float32Array | Int32Array;

/** Bytes of one element. */
export function byteSize(dtype: DType): number {
  return dtype === "f64" ? 8 : 4;
}

/** A typed view of `length` elements of `buffer` from `byteOffset` on. */
export function viewOf(buffer: ArrayBufferLike, byteOffset: number, dtype: DType, length: number): TypedArray {
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
