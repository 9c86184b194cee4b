import { operandBytes, type OpDefinition, type View } from "../op.js";
import { columns, expectShape, rows, sameDType, sameMatrix, sameShape, type TensorType } from "../shape.js";
import { matmulOp } from "./matmul.js";
import { swigluOp } from "./swiglu.js";

// Products with what follows them, as one op: what lies between is neither stored nor rounded. Nobody records these; makePlan puts
// them together for backends that name them among their `capabilities.fused` (see fuse.ts).

/** y = op(A)·op(B) + c; y and c of the product's type. Attributes as of matmul. */
export const matmulAddOp: OpDefinition = {
  infer([a, b, c], attrs) {
    const product = matmulOp.infer([a!, b!], attrs)[0]!;
    const ok = sameMatrix(product.shape, c!.shape) && sameDType(product, c!);
    expectShape(ok, "matmul_add", "c of the product's shape and type", a!, b!, c!);
    return [{ shape: c!.shape, dtype: c!.dtype }];
  },
  cost([a, b, c], [y], attrs) {
    const product = matmulOp.cost([a!, b!], [y!], attrs);
    return { ...product, flops: product.flops + elements(y!), bytes: product.bytes + operandBytes(c!) };
  },
  reference([a, b, c], [y], attrs) {
    const product = multiplied(a!, b!, y!.shape, attrs);
    for (let i = 0; i < product.length; i++) y!.data[i] = product[i]! + c!.data[i]!;
  },
};

/** target += op(A)·op(B), in place; target is state of the product's type. Attributes as of matmul. */
export const matmulAccumulateOp: OpDefinition = {
  mutates: [0],
  infer([target, a, b], attrs) {
    const product = matmulOp.infer([a!, b!], attrs)[0]!;
    const ok = sameShape(product.shape, target!.shape) && sameDType(product, target!);
    expectShape(ok, "matmul_accumulate", "target of the product's shape and type", target!, a!, b!);
    return [];
  },
  cost([target, a, b], _, attrs) {
    const product = matmulOp.cost([a!, b!], [target!], attrs);
    return { ...product, flops: product.flops + elements(target!), bytes: product.bytes + operandBytes(target!) };
  },
  reference([target, a, b], _, attrs) {
    const product = multiplied(a!, b!, target!.shape, attrs);
    for (let i = 0; i < product.length; i++) target!.data[i]! += product[i]!;
  },
};

/**
 * y = silu(x·Wgᵀ)∘(x·Wuᵀ), the first half of a SwiGLU feed-forward (Shazeer 2020). x [..., D], Wg and Wu [F, D]; yields y [..., F] and,
 * with `keep`, also the two products, which the backward pass reads.
 */
export const matmulSwigluOp: OpDefinition = {
  infer([x, gate, up], { keep }) {
    const ok = sameShape(gate!.shape, up!.shape) && sameDType(gate!, up!);
    expectShape(ok, "matmul_swiglu", "two weights of one shape and type", x!, gate!, up!);
    const [y] = matmulOp.infer([x!, gate!], { transposeA: false, transposeB: true });
    return keep ? [y!, y!, y!] : [y!];
  },
  cost([x, gate, up], outputs) {
    const [y] = outputs;
    const matmulFlops = 4 * rows(y!.shape) * columns(y!.shape) * columns(x!.shape);
    return { flops: matmulFlops + 5 * elements(y!), matmulFlops, bytes: operandBytes(x!, gate!, up!, ...outputs) };
  },
  reference([x, gate, up], [y, ...kept]) {
    const products = [gate!, up!].map((w) => multiplied(x!, w, y!.shape, { transposeA: false, transposeB: true }));
    kept.forEach(({ data }, i) => data.set(products[i]!));
    swigluOp.reference(
      products.map((data) => ({ data, shape: y!.shape })),
      [y!],
      {},
    );
  },
};

/** op(A)·op(B), not yet rounded to the result's type. */
function multiplied(a: View, b: View, shape: readonly number[], attrs: Parameters<OpDefinition["reference"]>[2]) {
  const data = new Float64Array(rows(shape) * columns(shape));
  matmulOp.reference([a, b], [{ data, shape }], attrs);
  return data;
}

const elements = ({ shape }: TensorType) => rows(shape) * columns(shape);
