import { accumulatorOf, byteSize } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { operandBytes, type OpDefinition } from "../op.js";
import { columns, expectShape, rows, size } from "../shape.js";

/**
 * y [..., D] = table [V, D] at ids i32 [...]. Ids outside 0..V-1 are an error in the reference executor. y is of the table's
 * type, or f32 if that is bf16 and `f32` asks for it.
 */
export function embedding(table: Tensor, ids: Tensor, f32 = false): Tensor {
  return table.graph.apply("embedding", [table, ids], f32 ? { f32 } : {})[0]!;
}

export const embeddingOp: OpDefinition = {
  infer([table, ids], { f32 }) {
    expectShape(ids!.dtype === "i32", "embedding", "table [..., D], ids i32", table!, ids!);
    return [{ shape: [...ids!.shape, columns(table!.shape)], dtype: f32 ? accumulatorOf(table!.dtype) : table!.dtype }];
  },
  // Only the rows asked for are read.
  cost: (_, [y]) => ({ flops: 0, matmulFlops: 0, bytes: 2 * operandBytes(y!) }),
  gradient({ input, inputType, outputGradient, needs }) {
    if (!needs(0)) return [undefined, undefined];
    const dy = outputGradient(0);
    const attrs = { rows: rows(inputType(0).shape) };
    return [dy.graph.apply("embedding_backward", [dy, input(1)], attrs)[0]!, undefined];
  },
  reference([table, ids], [y]) {
    const d = columns(table!.shape);
    const v = rows(table!.shape);
    for (let i = 0; i < ids!.data.length; i++) {
      const id = ids!.data[i]!;
      if (id < 0 || id >= v) throw new RangeError(`embedding: id ${id} at position ${i} is outside 0..${v - 1}`);
      y!.data.set(table!.data.subarray(id * d, (id + 1) * d), i * d);
    }
  },
};

/** dtable [rows, D]: row v = Σ of dy over the positions whose id is v; f32 for bf16. Operands dy [..., D], ids i32. */
export const embeddingBackwardOp: OpDefinition = {
  infer([dy, ids], { rows: v }) {
    const ok = ids!.dtype === "i32" && size(ids!.shape) === rows(dy!.shape);
    expectShape(ok, "embedding_backward", "dy [..., D], ids i32 [...]", dy!, ids!);
    return [{ shape: [v as number, columns(dy!.shape)], dtype: accumulatorOf(dy!.dtype) }];
  },
  cost: ([dy, ids], [dtable]) => ({
    flops: operandBytes(dy!) / byteSize(dy!.dtype),
    matmulFlops: 0,
    bytes: operandBytes(dy!, ids!, dtable!),
  }),
  reference([dy, ids], [dtable]) {
    const d = columns(dtable!.shape);
    dtable!.data.fill(0);
    for (let i = 0; i < ids!.data.length; i++) {
      const row = ids!.data[i]! * d;
      for (let j = 0; j < d; j++) dtable!.data[row + j]! += dy!.data[i * d + j]!;
    }
  },
};
