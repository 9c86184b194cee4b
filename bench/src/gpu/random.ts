import { byteSize, encode, type DType } from "@slayer/tensor";

/** A prime: no two rows of a matrix are the same, of whatever width, nor so few different ones that its rank is small. */
const BLOCK = 1_048_573;

/** Standard normal (Box & Muller 1958, of mulberry32's numbers); the same sequence each time. */
function block(seed: number): Float32Array {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: BLOCK },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

/**
 * Normally distributed values for large tensors, fast: one block of a million, scaled, repeated to `length` elements of this type. Raw bytes, as a
 * backend's `write` takes them.
 */
export function repeated(dtype: DType, length: number, scale: number, seed = 1): Uint8Array {
  const values = encode(
    block(seed).map((x) => x * scale),
    dtype,
  );
  const one = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bytes = new Uint8Array(length * byteSize(dtype));
  for (let at = 0; at < bytes.length; at += one.length) bytes.set(one.subarray(0, bytes.length - at), at);
  return bytes;
}
