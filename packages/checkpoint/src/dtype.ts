/**
 * Element types as safetensors names them. All can be copied as bytes; F64, F32, F16 and BF16 can also be decoded.
 * Data are little-endian in the file.
 */
export type StoredDtype =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "F8_E4M3"
  | "F8_E5M2"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** The element types whose values this package can turn into f32 and back. */
export type FloatDtype = "F64" | "F32" | "F16" | "BF16";

const BYTE_SIZES: Readonly<Record<StoredDtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

export const STORED_DTYPES = Object.keys(BYTE_SIZES) as readonly StoredDtype[];

/** Bytes of one element. */
export function byteSize(dtype: StoredDtype): number {
  return BYTE_SIZES[dtype];
}

/** Whether {@link decodeToF32} and {@link encodeFromF32} accept `dtype`. */
export function isFloatDtype(dtype: StoredDtype): dtype is FloatDtype {
  return dtype === "F64" || dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function requireLittleEndian(): void {
  if (!littleEndian) throw new Error("safetensors data are little-endian; this processor is big-endian, not supported");
}

/** The bytes at an address that a typed array of `size`-byte elements may start at; copied only where they are not. */
function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice();
}

/**
 * The f32 bit pattern of one binary16 number, exact for every one of the 65,536 patterns, NaN payloads included.
 *
 *     binary16  s eeeee mmmmmmmmmm            value 2^(e-15) · 1.m, subnormal 2^-14 · 0.m
 *     binary32  s eeeeeeee mmmmmmmmmm0000…    value 2^(e-127) · 1.m
 */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  let exponent = (half >>> 10) & 0x1f;
  let mantissa = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent === 0) {
    if (mantissa === 0) return sign >>> 0;
    exponent = 1;
    while ((mantissa & 0x400) === 0) {
      mantissa <<= 1;
      exponent--;
    }
    mantissa &= 0x3ff;
  }
  return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
}

let halfTable: Uint32Array | undefined;

function halfToF32Bits(): Uint32Array {
  halfTable ??= Uint32Array.from({ length: 65536 }, (_, half) => widenHalf(half));
  return halfTable;
}

/** Nearest binary16 to the f32 with these bits (as an int32, which the engine adds fastest), ties to even. A NaN keeps its sign and the payload bits that fit. */
function narrowToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7c00 | ((magnitude >>> 13) & 0x3ff || 0x200);
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520, halfway between the largest finite number and 2^16
  if (magnitude >= 0x38800000) {
    const rebased = magnitude - 0x38000000; // exponent bias 127 -> 15
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // up to 2^-25, half of the smallest subnormal
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const half = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (half + (rest > tie || (rest === tie && (half & 1) === 1) ? 1 : 0));
}

/** Nearest bfloat16 to the f32 with these bits, ties to even. A NaN keeps its sign and the payload bits that fit. */
function narrowToBfloat(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) {
    const top = bits >>> 16;
    return (top & 0x7f) === 0 ? top | 0x40 : top;
  }
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16; // a carry out of the mantissa reaches infinity rightly
}

/**
 * Widen stored elements to f32. Exact for F32, F16 and BF16 (bit patterns of NaNs included); F64 is rounded to nearest.
 *
 * @param bytes n elements, little-endian, at any alignment
 * @param out n floats to fill; a new array when absent
 * @throws RangeError when `bytes` is no whole number of elements or `out` has another length
 */
export function decodeToF32(bytes: Uint8Array, dtype: FloatDtype, out?: Float32Array): Float32Array {
  requireLittleEndian();
  const size = byteSize(dtype);
  if (bytes.length % size !== 0) {
    throw new RangeError(`${bytes.length} bytes are no whole number of ${dtype} elements of ${size} bytes`);
  }
  const n = bytes.length / size;
  const result = out ?? new Float32Array(n);
  if (result.length !== n) throw new RangeError(`out must hold ${n} floats, it holds ${result.length}`);
  const source = aligned(bytes, size);
  const bits = new Uint32Array(result.buffer, result.byteOffset, n);
  switch (dtype) {
    case "F32":
      new Uint8Array(result.buffer, result.byteOffset, n * 4).set(source);
      break;
    case "F64":
      result.set(new Float64Array(source.buffer, source.byteOffset, n));
      break;
    case "BF16": {
      const stored = new Uint16Array(source.buffer, source.byteOffset, n);
      for (let i = 0; i < n; i++) bits[i] = (stored[i] as number) << 16;
      break;
    }
    case "F16": {
      const stored = new Uint16Array(source.buffer, source.byteOffset, n);
      const table = halfToF32Bits();
      for (let i = 0; i < n; i++) bits[i] = table[stored[i] as number] as number;
      break;
    }
    default:
      dtype satisfies never;
  }
  return result;
}

/**
 * Round f32 values once to `dtype` (nearest, ties to even; beyond the largest finite number to infinity; subnormals
 * kept). Decoding and encoding again gives the same bits for F32, F16 and BF16.
 *
 * @param out values.length · byteSize(dtype) bytes to fill, aligned to elements; a new array when absent
 * @returns `out`, little-endian
 * @throws RangeError when `out` has another length or is not aligned
 */
export function encodeFromF32(values: Float32Array, dtype: FloatDtype, out?: Uint8Array): Uint8Array {
  requireLittleEndian();
  const n = values.length;
  const bytes = n * byteSize(dtype);
  const result = out ?? new Uint8Array(bytes);
  if (result.length !== bytes || result.byteOffset % byteSize(dtype) !== 0) {
    throw new RangeError(
      `out must hold ${bytes} aligned bytes, it holds ${result.length} from ${result.byteOffset} on`,
    );
  }
  const bits = new Int32Array(values.buffer, values.byteOffset, n);
  switch (dtype) {
    case "F32":
      result.set(new Uint8Array(values.buffer, values.byteOffset, bytes));
      return result;
    case "F64":
      new Float64Array(result.buffer, result.byteOffset, n).set(values);
      return result;
    case "BF16": {
      const stored = new Uint16Array(result.buffer, result.byteOffset, n);
      for (let i = 0; i < n; i++) stored[i] = narrowToBfloat(bits[i] as number);
      return result;
    }
    case "F16": {
      const stored = new Uint16Array(result.buffer, result.byteOffset, n);
      for (let i = 0; i < n; i++) stored[i] = narrowToHalf(bits[i] as number);
      return result;
    }
    default:
      return dtype satisfies never;
  }
}
