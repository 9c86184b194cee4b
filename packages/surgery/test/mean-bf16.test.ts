import { expect, test } from "vitest";
import { meanOfTwoBf16 } from "../src/mean-bf16.js";
import { mean } from "./checkpoints.js";

/** Every 16-bit pattern against a shuffled one, in arrays that begin at odd places and end within a vector. */
test("mean of two bfloat16, all patterns: bit for bit the mean in f64 rounded to f32 and once more; NaN stays NaN", () => {
  const count = 65_536 + 5;
  const make = (pattern: (i: number) => number): Uint8Array => {
    const bytes = new Uint8Array(2 * count + 2).subarray(2);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let i = 0; i < count; i += 1) view.setUint16(2 * i, pattern(i) & 0xffff, true);
    return bytes;
  };
  const finite = (bits: number): number => ((bits & 0x7f80) === 0x7f80 ? bits & 0xff7f : bits);
  const nan = (bits: number): boolean => (bits & 0x7fff) > 0x7f80;
  for (const factor of [1, 25_173, 40_503]) {
    const a = make((i) => finite(i));
    const b = make((i) => finite(i * factor + 13));
    const out = new Uint8Array(2 * count);
    meanOfTwoBf16(a, b, out);
    const wanted = mean([a, b].map((bytes) => ({ dtype: "BF16", shape: [count], bytes })));
    expect(Buffer.compare(out, wanted)).toBe(0);

    const special = make((i) => i * factor);
    const other = make((i) => finite(i * 7));
    meanOfTwoBf16(special, other, out);
    const bits = new Uint16Array(out.buffer);
    for (let i = 0; i < count; i += 1) {
      const source = (i * factor) & 0xffff;
      if (nan(source)) expect(bits[i]).toBe(0x7fc0);
      else if ((source & 0x7fff) === 0x7f80) expect(bits[i]).toBe(source);
    }
  }
});
