import type { FloatDtype } from "@slayer/checkpoint";
import { byteSize, decodeToF32, encodeFromF32 } from "@slayer/checkpoint";

/** Elements that are widened, summed and rounded at a time, so that they stay in the innermost cache. */
const blockElements = 4096;

/**
 * The weighted sum of equally long runs of elements of `dtype`, rounded once from f32 (nearest, ties to even), into
 * `out`, which is as long as each of them; a new array when absent.
 */
export function weightedSum(
  sources: readonly Uint8Array[],
  weights: readonly number[],
  dtype: FloatDtype,
  out: Uint8Array = new Uint8Array(sources[0]?.length ?? 0),
): Uint8Array {
  const step = blockElements * byteSize(dtype);
  for (let begin = 0; begin < out.length; begin += step) {
    const block = sources.map((bytes) => bytes.subarray(begin, begin + step));
    out.set(encodeFromF32(weightedSumF32(block, weights, dtype), dtype), begin);
  }
  return out;
}

/**
 * The weighted sum in f32. Values are widened exactly, products and sums are taken in f64 and rounded to f32 at the end.
 *
 * For the mean of two this is bit for bit the f32 sum, halved, because rounding a sum of
 * two f32 first to f64 changes nothing (53 >= 2*24 + 2; Figueroa 1995), except that it neither overflows nor loses
 * subnormal bits on the way. Equal weights are summed first and divided once, so that a mean of three is a mean and
 * not a sum of thirds.
 */
export function weightedSumF32(
  sources: readonly Uint8Array[],
  weights: readonly number[],
  dtype: FloatDtype,
): Float32Array {
  const values = sources.map((bytes) => decodeToF32(bytes, dtype));
  const out = new Float32Array(values[0]?.length ?? 0);
  const first = weights[0] ?? 1;
  const count = values.length;
  if (first === 1 / count && weights.every((weight) => weight === first)) {
    for (let i = 0; i < out.length; i += 1) {
      let sum = 0;
      for (const source of values) sum += source[i] as number;
      out[i] = sum / count;
    }
  } else {
    for (let i = 0; i < out.length; i += 1) {
      let sum = 0;
      for (let s = 0; s < count; s += 1) sum += (weights[s] as number) * ((values[s] as Float32Array)[i] as number);
      out[i] = sum;
    }
  }
  return out;
}
