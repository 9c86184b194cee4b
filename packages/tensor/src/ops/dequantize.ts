import type { FloatDType } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { BITS, GROUP, NF4_LEVELS, type QuantizedFormat } from "../quantized.js";
import { expectShape, sameShape } from "../shape.js";

/**
 * The matrix W [R, columns] that `codes` and `scales` stand for (see `quantizedTypes`), in f32 or rounded to bf16. It is not kept for
 * the backward pass but made again: else every frozen weight would lie in memory in full. There is no gradient.
 */
export function dequantize(
  codes: Tensor,
  scales: Tensor,
  format: QuantizedFormat,
  columns: number,
  dtype: FloatDType = "f32",
): Tensor {
  const attrs = { bits: BITS[format], columns, ...(dtype === "bf16" && { bf16: true }) };
  return codes.graph.apply("dequantize", [codes, scales], attrs)[0]!;
}

export const dequantizeOp: OpDefinition = {
  rematerialize: true,
  infer([codes, scales], { bits, columns, bf16 }) {
    const [rows, c, b] = [codes!.shape[0]!, Number(columns), Number(bits)];
    const known = (b === BITS.int8 || b === BITS.nf4) && Number.isSafeInteger(c) && c > 0;
    const words = Math.ceil((c * b) / 32);
    const groups = Math.ceil(c / GROUP);
    const fits = sameShape(codes!.shape, [rows, words]) && sameShape(scales!.shape, [rows, groups]);
    expectShape(
      known && fits && codes!.dtype === "i32" && (scales!.dtype === "f32" || scales!.dtype === "f64"),
      "dequantize",
      `codes i32 [R,${words}] of 4 or 8 bits and scales f32 [R,${groups}] for ${c} columns`,
      codes!,
      scales!,
    );
    return [{ shape: [rows, c], dtype: bf16 ? "bf16" : scales!.dtype }];
  },
  cost: ([codes, scales], [w]) => elementwiseCost(1, w!, [codes!, scales!, w!]),
  reference([codes, scales], [w], { bits, columns }) {
    const [b, c] = [Number(bits), Number(columns)];
    const [words, groups] = [codes!.shape[1]!, scales!.shape[1]!];
    for (let i = 0; i < w!.data.length; i++) {
      const [row, j] = [Math.floor(i / c), i % c];
      const at = j * b;
      const word = codes!.data[row * words + Math.floor(at / 32)]!;
      const value = b === BITS.int8 ? (word << (24 - (at % 32))) >> 24 : NF4_LEVELS[(word >>> (at % 32)) & 15]!;
      w!.data[i] = value * scales!.data[row * groups + Math.floor(j / GROUP)]!;
    }
  },
};
