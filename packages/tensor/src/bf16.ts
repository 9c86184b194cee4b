/** bf16: the upper half of an f32 (sign, 8 bits of exponent, 7 of fraction). Widening is exact. */

/** The f32 values of raw bf16 numbers. */
export function widenBf16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return new Float32Array(wide.buffer);
}

/** Rounds to the nearest bf16, ties to even; infinities and NaNs stay what they are. */
export function roundToBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const rounded = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    const isNaN = (b & 0x7fffffff) > 0x7f800000;
    // Half a unit less one, and one more where the last kept bit is odd: carries exactly when nearest-even rounds up.
    rounded[i] = isNaN ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return rounded;
}
