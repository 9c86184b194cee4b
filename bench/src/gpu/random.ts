import { byteSize, encode, type DType } from "@slayer/tensor";

const BLOCK = 1 << 20;

/** Uniform in (−√3, √3): mean 0 and variance 1; the same sequence each time (mulberry32). */
function block(seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: BLOCK }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1) * Math.sqrt(3);
  });
}

/**
 * Random values for large tensors, fast: one block of a million, scaled, repeated to `length` elements of this type. Raw bytes, as a
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
