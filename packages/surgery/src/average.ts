import type { FloatDtype } from "@slayer/checkpoint";
import { byteSize, decodeToF32, encodeFromF32 } from "@slayer/checkpoint";
import { meanOfTwoBf16 } from "./mean-bf16.js";

/** Elements that are summed and rounded at a time, so that the f32 sums stay in the innermost cache. */
const blockElements = 4096;

/**
 * The weighted sum of equally long runs of elements of `dtype`, rounded once from f32 (nearest, ties to even), into
 * `out`, which is as long as each of them and aligned to its elements; a new array when absent.
 */
export function weightedSum(
  sources: readonly Uint8Array[],
  weights: readonly number[],
  dtype: FloatDtype,
  out: Uint8Array = new Uint8Array(sources[0]?.length ?? 0),
): Uint8Array {
  const [a, b] = sources;
  if (dtype === "BF16" && isMean(weights) && sources.length === 2 && a !== undefined && b !== undefined) {
    meanOfTwoBf16(a, b, out);
    return out;
  }
  const step = blockElements * byteSize(dtype);
  const sums = new Float32Array(Math.min(blockElements, out.length / byteSize(dtype)));
  for (let begin = 0; begin < out.length; begin += step) {
    const into = out.subarray(begin, begin + step);
    const block = sources.map((bytes) => bytes.subarray(begin, begin + step));
    encodeFromF32(weightedSumF32(block, weights, dtype, sums.subarray(0, into.length / byteSize(dtype))), dtype, into);
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
  out: Float32Array = new Float32Array((sources[0]?.length ?? 0) / byteSize(dtype)),
): Float32Array {
  const weight = weights[0] ?? 1;
  const count = sources.length;
  const mean = isMean(weights);
  const [a, b] = sources;
  if (mean && count === 2 && dtype === "F16" && a !== undefined && b !== undefined) {
    meanOfTwoF16(a, b, out);
    return out;
  }
  const values = sources.map((bytes) => decodeToF32(bytes, dtype));
  for (let i = 0; i < out.length; i += 1) {
    let sum = (mean ? 1 : weight) * ((values[0] as Float32Array)[i] as number);
    for (let s = 1; s < count; s += 1) {
      sum += (mean ? 1 : (weights[s] as number)) * ((values[s] as Float32Array)[i] as number);
    }
    out[i] = mean ? sum / count : sum;
  }
  return out;
}

function isMean(weights: readonly number[]): boolean {
  return weights.every((weight) => weight === 1 / weights.length);
}

/** Several times faster by looking up what 16 bits mean than by widening first. */
function meanOfTwoF16(a: Uint8Array, b: Uint8Array, out: Float32Array): void {
  const [aBits, bBits, values] = [bits(a), bits(b), valuesOfF16()];
  for (let i = 0; i < out.length; i += 1) {
    out[i] = ((values[aBits[i] as number] as number) + (values[bBits[i] as number] as number)) / 2;
  }
}

function bits(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length / 2);
}

let table: Float32Array | undefined;

/** The values of all 65,536 binary16 numbers. */
function valuesOfF16(): Float32Array {
  table ??= decodeToF32(new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, i) => i).buffer), "F16");
  return table;
}
