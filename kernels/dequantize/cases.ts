import { type CaseInput, f32, i32, type KernelCase, ROUNDED_ONCE, ROUNDED_TO_BF16 } from "../case.js";

/** Every word is a row of codes, so any will do; scales are as those of weights. */
const words = (...shape: number[]): CaseInput => i32({ kind: "ids", limit: 2 ** 32 }, ...shape);
const scales = (...shape: number[]): CaseInput => f32({ kind: "normal", mean: 0.1, scale: 0.02 }, ...shape);

function dequantizeCases(rows: number, columns: number, bench?: true): KernelCase[] {
  return [4, 8].flatMap((bits): KernelCase[] => {
    const base: KernelCase = {
      name: `dequantize ${bits} bits ${rows}×${columns}`,
      op: "dequantize",
      attrs: { bits, columns },
      inputs: [words(rows, Math.ceil((columns * bits) / 32)), scales(rows, Math.ceil(columns / 64))],
      tolerance: ROUNDED_ONCE,
      ...(bench && { bench }),
    };
    const attrs = { ...base.attrs, bf16: true };
    return [base, { ...base, name: `${base.name}, bf16`, attrs, tolerance: ROUNDED_TO_BF16, storage: "bf16" }];
  });
}

export const cases: readonly KernelCase[] = [
  ...dequantizeCases(1, 1),
  ...dequantizeCases(3, 7), // not a whole word
  ...dequantizeCases(5, 64),
  ...dequantizeCases(2, 72), // a second group of one word of 4 bits
  ...dequantizeCases(67, 131), // a third group of three values; an odd number of rows
  ...dequantizeCases(300, 192),
  ...dequantizeCases(4096, 4096, true),
];
