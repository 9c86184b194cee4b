import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { byteSize, decodeToF32, encodeFromF32 } from "@slayer/checkpoint";
import type { FloatDtype } from "@slayer/checkpoint";

const ALL_16 = Uint16Array.from({ length: 65536 }, (_, i) => i);
const bytesOf = (array: Uint16Array | Uint32Array): Uint8Array => new Uint8Array(array.buffer);
const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** IEEE 754 by its definition in real numbers: (-1)^s · 2^(e-bias) · 1.m, subnormals 2^(1-bias) · 0.m. */
function ieee(bits: number, exponentBits: number, mantissaBits: number): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >> (exponentBits + mantissaBits) ? -1 : 1;
  const exponent = (bits >> mantissaBits) & (2 ** exponentBits - 1);
  const mantissa = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  if (exponent === 2 ** exponentBits - 1) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? 2 ** (1 - bias) * mantissa : 2 ** (exponent - bias) * (1 + mantissa));
}

const SIXTEEN = [
  { dtype: "F16", exponentBits: 5, mantissaBits: 10 },
  { dtype: "BF16", exponentBits: 8, mantissaBits: 7 },
] as const;

describe.each(SIXTEEN)("$dtype", ({ dtype, exponentBits, mantissaBits }) => {
  const decoded = decodeToF32(bytesOf(ALL_16), dtype);
  const infinity = (2 ** exponentBits - 1) << mantissaBits;

  it("decodes all 65,536 patterns to the value of the definition (exact)", () => {
    const wrong = [...ALL_16].filter((bits) => !Object.is(decoded[bits], ieee(bits, exponentBits, mantissaBits)));
    expect(wrong).toEqual([]);
  });

  it("gives all 65,536 patterns back, NaN payloads included", () => {
    expect(Buffer.compare(encodeFromF32(decoded, dtype), bytesOf(ALL_16))).toBe(0);
  });

  it("rounds to the nearest of every neighbouring pair, ties to even, both signs (exhaustive)", () => {
    // Between neighbours a and b: the midpoint, and the f32 numbers just beside it.
    const inputs: number[] = [];
    const expected: number[] = [];
    for (let low = 0; low < infinity; low++) {
      const a = ieee(low, exponentBits, mantissaBits);
      // Overflow: the "next" number after the largest is where the exponent would go on.
      const b = low + 1 === infinity ? 2 ** (2 ** (exponentBits - 1)) : ieee(low + 1, exponentBits, mantissaBits);
      const middle = (a + b) / 2;
      const f32 = new Float32Array([middle]);
      expect(f32[0]).toBe(middle);
      const bits = bitsOf(f32)[0];
      const below = bitsOf(new Float32Array(1)).fill(bits - 1);
      const above = bitsOf(new Float32Array(1)).fill(bits + 1);
      const even = low % 2 === 0 ? low : low + 1;
      for (const sign of [0, 0x8000]) {
        const factor = sign === 0 ? 1 : -1;
        inputs.push(
          factor * new Float32Array(below.buffer)[0],
          factor * middle,
          factor * new Float32Array(above.buffer)[0],
        );
        expected.push(sign | low, sign | even, sign | (low + 1));
      }
    }
    const encoded = new Uint16Array(encodeFromF32(Float32Array.from(inputs), dtype).buffer);
    const wrong = expected.flatMap((bits, i) => (encoded[i] === bits ? [] : [[inputs[i], encoded[i], bits]]));
    expect(wrong).toEqual([]);
  });

  it("keeps NaN a NaN when its payload does not fit, and infinities infinite", () => {
    const bits = Uint32Array.of(0x7f800001, 0xff800001, 0x7f800000, 0xff800000, 0x7f7fffff);
    const encoded = encodeFromF32(new Float32Array(bits.buffer), dtype);
    const again = decodeToF32(encoded, dtype);
    expect([...again]).toEqual([NaN, NaN, Infinity, -Infinity, Infinity]);
    expect(new Uint16Array(encoded.buffer)[1] >> 15).toBe(1);
  });
});

describe("F32 and F64", () => {
  it("F32 keeps every bit pattern, at any alignment of the bytes", () => {
    fc.assert(
      fc.property(fc.uint32Array({ maxLength: 50 }), fc.integer({ min: 0, max: 7 }), (bits, shift) => {
        const shifted = new Uint8Array(bits.length * 4 + 8).subarray(shift, shift + bits.length * 4);
        shifted.set(bytesOf(Uint32Array.from(bits)));
        const values = decodeToF32(shifted, "F32");
        expect([...bitsOf(values)]).toEqual([...bits]);
        expect(Buffer.compare(encodeFromF32(values, "F32"), shifted)).toBe(0);
      }),
    );
  });

  it("F64 is rounded to the nearest f32 (Math.fround) and widened exactly", () => {
    const doubles = Float64Array.of(0.1, -0, 1e300, 1 + 2 ** -24, 1 + 3 * 2 ** -24, 1e-45, NaN);
    expect([...decodeToF32(new Uint8Array(doubles.buffer), "F64")]).toEqual([...doubles].map(Math.fround));
    const floats = Float32Array.of(0.1, -0, Infinity);
    expect([...new Float64Array(encodeFromF32(floats, "F64").buffer)]).toEqual([...floats]);
  });
});

describe("decodeToF32", () => {
  it("fills a given part of an array and nothing beside it", () => {
    const all = new Float32Array(4).fill(9);
    decodeToF32(Uint8Array.of(0x80, 0x3f, 0, 0x40), "BF16", all.subarray(1, 3));
    expect([...all]).toEqual([9, 1, 2, 9]);
  });

  it.each<[FloatDtype, number, number]>([
    ["F32", 6, 1],
    ["F16", 3, 1],
    ["BF16", 4, 3],
  ])("%s refuses %i bytes into %i floats", (dtype, bytes, floats) => {
    expect(() => decodeToF32(new Uint8Array(bytes), dtype, new Float32Array(floats))).toThrow(RangeError);
  });
});

it("byteSize is the number of bytes of the name's bits", () => {
  for (const dtype of ["F64", "F32", "F16", "BF16", "F8_E4M3", "I64", "I32", "I16", "I8", "U64", "U8"] as const) {
    expect(byteSize(dtype) * 8).toBe(Number(/\d+/.exec(dtype)?.[0]));
  }
  expect(byteSize("BOOL")).toBe(1);
});
