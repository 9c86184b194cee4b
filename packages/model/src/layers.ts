import { addBias, attention, cacheWrite, matmul, rope, type Tensor } from "@slayer/tensor";
import type { BlockContext } from "./forward.js";

/** y [..., out] = x [..., in]·Wᵀ (+ b), with W [out, in] as checkpoints store it. `name` is the module's. */
export function linear(c: BlockContext, x: Tensor, name: string, outWidth: number, bias: boolean): Tensor {
  const inWidth = x.shape.at(-1)!;
  const plain = matmul(x, c.weight(`${name}.weight`, [outWidth, inWidth]), { transposeB: true });
  const y = c.adapt ? c.adapt(name, x, plain, c.weight) : plain;
  return bias ? addBias(y, c.weight(`${name}.bias`, [outWidth])) : y;
}

/**
 * Rotates q [B,T,H·E] and k [B,T,K·E], appends k and v to the cache if there is one, and attends: [B,T,H·E].
 * `window` 0 looks back without bound.
 */
export function attend(c: BlockContext, l: number, q: Tensor, k: Tensor, v: Tensor, window: number): Tensor {
  const { heads, kvHeads, headDim } = c.config;
  const options = { heads, kvHeads, scale: headDim ** -0.5, window };
  const qRotated = rope(q, c.positions, c.frequencies);
  const kRotated = rope(k, c.positions, c.frequencies);
  if (!c.cache) return attention(qRotated, kRotated, v, { ...options, ...(c.segments && { segments: c.segments }) });

  const { length, offset } = c.cache;
  const shape = [k.shape[0]!, length, kvHeads * headDim];
  const keys = c.graph.state(`cache.${l}.k`, shape, k.dtype);
  const values = c.graph.state(`cache.${l}.v`, shape, v.dtype);
  cacheWrite(keys, kRotated, offset);
  cacheWrite(values, v, offset);
  return attention(qRotated, keys, values, { ...options, offset });
}
