import { size, type Shape, type TensorType } from "./shape.js";

/**
 * Forms in which a matrix that is only read takes less room: per group of 64 values of a row a scale s in f32, and per value a code.
 * int8: s = max|w|/127, w ≈ s·q with the integer q nearest to w/s, −127 … 127. nf4: s = max|w|, w ≈ s·v with v the nearest
 * to w/s of 16 quantiles of the normal distribution (QLoRA, Dettmers et al. 2023, arXiv:2305.14314, appendix E).
 */
export type QuantizedFormat = "int8" | "nf4";

/** Bits of a code. */
export const BITS = { int8: 8, nf4: 4 } as const satisfies Record<QuantizedFormat, number>;

/** Values of a row that share a scale. */
export const GROUP = 64;

/** The values of the 16 codes of nf4, each an f32. */
export const NF4_LEVELS: readonly number[] = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
].map(Math.fround);

/**
 * What holds a matrix [R, C]: codes i32 [R, ⌈C·bits/32⌉], code j of a row in bits j·bits … of its words, the lowest first, the bits after
 * the last code 0; and scales f32 [R, ⌈C/64⌉].
 */
export function quantizedTypes(format: QuantizedFormat, shape: Shape): { codes: TensorType; scales: TensorType } {
  const [rows, columns] = shape as [number, number];
  if (shape.length !== 2) throw new RangeError(`${format} is for matrices, got [${shape.join(",")}]`);
  return {
    codes: { shape: [rows, Math.ceil((columns * BITS[format]) / 32)], dtype: "i32" },
    scales: { shape: [rows, Math.ceil(columns / GROUP)], dtype: "f32" },
  };
}

/** The codes and scales nearest to `values`, of a matrix of this shape. Throws a RangeError for values that are not finite. */
export function quantize(
  values: Float32Array,
  shape: Shape,
  format: QuantizedFormat,
): { codes: Int32Array; scales: Float32Array } {
  const types = quantizedTypes(format, shape);
  const [codes, scales] = [new Int32Array(size(types.codes.shape)), new Float32Array(size(types.scales.shape))];
  const [rows, columns] = shape as [number, number];
  const [words, groups] = [types.codes.shape[1]!, types.scales.shape[1]!];
  const bits = BITS[format];
  const perWord = 32 / bits;
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const end = Math.min(columns, (group + 1) * GROUP);
      let most = 0;
      for (let j = group * GROUP; j < end; j++) {
        const magnitude = Math.abs(values[row * columns + j]!);
        if (!(magnitude < Infinity)) throw new RangeError(`value ${j} of row ${row} is ${values[row * columns + j]}`);
        if (magnitude > most) most = magnitude;
      }
      const scale = Math.fround(format === "int8" ? most / 127 : most);
      scales[row * groups + group] = scale;
      for (let j = group * GROUP; j < end; j++) {
        const x = scale === 0 ? 0 : values[row * columns + j]! / scale;
        const code = format === "int8" ? roundToEven(x) & 0xff : nearestLevel(Math.fround(x));
        codes[row * words + Math.floor(j / perWord)]! |= code << (bits * (j % perWord));
      }
    }
  }
  return { codes, scales };
}

/** To the nearest integer, to even where two are as near: an f64 of this size has no bits for fractions. */
function roundToEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
}

/** Between two levels the middle; beyond the last level there is none. */
const MIDPOINTS = Float64Array.from({ length: 16 }, (_, i) => (NF4_LEVELS[i]! + (NF4_LEVELS[i + 1] ?? Infinity)) / 2);

/** How many middles lie below −1 + i/32. No two lie in one such step: they are at least 0.08 apart. */
const BELOW = Uint8Array.from({ length: 65 }, (_, i) => MIDPOINTS.filter((m) => m < -1 + i / 32).length);

/** The code of the level nearest to x, −1 ≤ x ≤ 1; the lower one where two are as near. */
function nearestLevel(x: number): number {
  const code = BELOW[Math.floor(32 * (x + 1))]!;
  return x > MIDPOINTS[code]! ? code + 1 : code;
}
