import type { Tensor } from "../graph.js";
import { elementwiseCost, operandBytes, type OpDefinition } from "../op.js";
import { compatible, expectShape, sameDType, sameShape, size } from "../shape.js";

/** target = x, in place, in the target's type: f32 masters rounded to bf16 working copies, to nearest even. */
export function copy(target: Tensor, x: Tensor): void {
  target.graph.apply("copy", [target, x]);
}

/** target += x, in place; target is state. Gradient accumulation over micro-batches. */
export function accumulate(target: Tensor, x: Tensor): void {
  target.graph.apply("accumulate", [target, x]);
}

/** target = value everywhere, in place; target is state. */
export function clear(target: Tensor): void {
  target.graph.apply("clear", [target]);
}

/**
 * Writes rows x [B, T, D] into cache [B, S, D] at [:, offset..offset+T−1, :], in place; offset i32 [1]. The KV cache.
 */
export function cacheWrite(cache: Tensor, x: Tensor, offset: Tensor): void {
  cache.graph.apply("cache_write", [cache, x, offset]);
}

export const accumulateOp: OpDefinition = {
  mutates: [0],
  infer([target, x]) {
    const ok = sameShape(target!.shape, x!.shape) && sameDType(target!, x!);
    expectShape(ok, "accumulate", "two operands of one type", target!, x!);
    return [];
  },
  cost: ([target, x]) => elementwiseCost(1, x!, [target!, target!, x!]),
  reference([target, x]) {
    for (let i = 0; i < x!.data.length; i++) target!.data[i]! += x!.data[i]!;
  },
};

export const copyOp: OpDefinition = {
  mutates: [0],
  infer([target, x]) {
    const ok = sameShape(target!.shape, x!.shape) && compatible(target!, x!);
    expectShape(ok, "copy", "two operands of one shape and of one type, or f32 and bf16", target!, x!);
    return [];
  },
  cost: ([target, x]) => elementwiseCost(0, x!, [target!, x!]),
  reference([target, x]) {
    target!.data.set(x!.data);
  },
};

export const clearOp: OpDefinition = {
  mutates: [0],
  infer: () => [],
  cost: ([target]) => elementwiseCost(0, target!, [target!]),
  reference([target]) {
    target!.data.fill(0);
  },
};

export const cacheWriteOp: OpDefinition = {
  mutates: [0],
  infer([cache, x, offset]) {
    const [b, s, d] = cache!.shape;
    const [bx, t, dx] = x!.shape;
    const ok = cache!.shape.length === 3 && x!.shape.length === 3 && b === bx && d === dx && t! <= s!;
    expectShape(
      ok && sameDType(cache!, x!) && offset!.dtype === "i32" && size(offset!.shape) === 1,
      "cache_write",
      "cache [B,S,D], x [B,T≤S,D], offset i32 [1]",
      cache!,
      x!,
      offset!,
    );
    return [];
  },
  cost: ([, x]) => ({ flops: 0, matmulFlops: 0, bytes: 2 * operandBytes(x!) }),
  reference([cache, x, offset]) {
    const [b, s, d] = cache!.shape as [number, number, number];
    const t = x!.shape[1]!;
    const at = offset!.data[0]!;
    if (at < 0 || at + t > s) throw new RangeError(`cache_write: rows ${at}..${at + t - 1} don't fit a cache of ${s}`);
    for (let i = 0; i < b; i++) {
      cache!.data.set(x!.data.subarray(i * t * d, (i + 1) * t * d), (i * s + at) * d);
    }
  },
};
