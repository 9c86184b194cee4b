import type { Tensor } from "../graph.js";
import { operandBytes, type Attrs, type OpDefinition, type View } from "../op.js";
import { expectShape, size, type TensorType } from "../shape.js";
import { attentionBackwardOp } from "./attention-backward.js";

export { attentionBackwardOp };

/**
 * Causal grouped-query attention. q [B, T, H·E], k and v [B, S, K·E], H a multiple of K; o [B, T, H·E]:
 *   o_i = Σ_j softmax_j(q_i·k_j·scale) v_j   over the keys j that row i may see.
 * Row i stands at position offset + i (offset 0 unless given, then i32 [1]: the tokens already in the cache); it sees key j
 * where j ≤ offset + i, j > offset + i − window (window 0: no bound) and, with segments i32 [B, S], where the
 * segments of i and j are equal. Also yields the log-sum-exp [B, H, T] for the backward op. No T×T matrix is stored.
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: { heads: number; kvHeads: number; scale: number; window?: number; segments?: Tensor; offset?: Tensor },
): Tensor {
  const { heads, kvHeads, scale, window = 0, segments, offset } = options;
  if (segments && offset) throw new Error("attention: segments and offset don't go together");
  const attrs = { heads, kvHeads, scale, window, segments: segments !== undefined, offset: offset !== undefined };
  const extra = segments ?? offset;
  return q.graph.apply("attention", extra ? [q, k, v, extra] : [q, k, v], attrs)[0]!;
}

/** Sizes by the names of the formulas. */
export interface AttentionSizes {
  B: number;
  T: number;
  S: number;
  H: number;
  K: number;
  E: number;
}

export function attentionSizes(q: TensorType | View, k: TensorType | View, attrs: Attrs): AttentionSizes {
  const [B, T, width] = q.shape as [number, number, number];
  const H = attrs.heads as number;
  return { B, T, S: k.shape[1]!, H, K: attrs.kvHeads as number, E: width / H };
}

/** The keys lo..hi that a row at `position` may see by order and window alone. */
export function visible(position: number, window: number): [number, number] {
  return [window > 0 ? Math.max(0, position - window + 1) : 0, position];
}

/** FLOPs of one product over the visible pairs (q·kᵀ, say): causal counts T²/2 pairs, a window w·T − w²/2. */
export function attentionProductFlops(q: TensorType, k: TensorType, attrs: Attrs): number {
  const { B, T, S, H, E } = attentionSizes(q, k, attrs);
  const window = attrs.window as number;
  const w = window > 0 ? Math.min(window, S) : S;
  const pairs = attrs.offset ? T * w : w * T - (w * w) / 2;
  return 2 * B * H * E * pairs;
}

export const attentionOp: OpDefinition = {
  infer([q, k, v, extra], attrs) {
    const { B, T, S, H, K, E } = attentionSizes(q!, k!, attrs);
    const kv = [k!, v!].every(
      (t) => t.shape.length === 3 && t.shape[0] === B && t.shape[1] === S && t.shape[2] === K * E,
    );
    const ok = q!.shape.length === 3 && kv && Number.isInteger(E) && H % K === 0 && (attrs.offset ? T <= S : T === S);
    expectShape(ok, "attention", "q [B,T,H·E], k and v [B,S,K·E], H a multiple of K", q!, k!, v!);
    if (extra) {
      const fits = extra.dtype === "i32" && size(extra.shape) === (attrs.offset ? 1 : B * S);
      expectShape(fits, "attention", attrs.offset ? "offset i32 [1]" : "segments i32 [B,S]", extra);
    }
    return [
      { shape: q!.shape, dtype: q!.dtype },
      { shape: [B, H, T], dtype: q!.dtype },
    ];
  },

  cost(inputs, outputs, attrs) {
    const matmulFlops = 2 * attentionProductFlops(inputs[0]!, inputs[1]!, attrs);
    const { E } = attentionSizes(inputs[0]!, inputs[1]!, attrs);
    const softmax = Math.round((2.5 * matmulFlops) / (2 * E));
    return { flops: matmulFlops + softmax, matmulFlops, bytes: operandBytes(...inputs, ...outputs) };
  },

  gradient({ attrs, input, output, outputGradient, needs }) {
    if (attrs.offset) throw new Error("attention over a cache has no gradient");
    if (!needs(0) && !needs(1) && !needs(2)) return [];
    const operands = [outputGradient(0), input(0), input(1), input(2), output(0), output(1)];
    if (attrs.segments) operands.push(input(3));
    return operands[0]!.graph.apply("attention_backward", operands, attrs);
  },

  reference([q, k, v, extra], [o, lse], attrs) {
    const { B, T, S, H, K, E } = attentionSizes(q!, k!, attrs);
    const scale = attrs.scale as number;
    const [qData, kData, vData, oData, lseData] = [q!.data, k!.data, v!.data, o!.data, lse!.data];
    const offset = attrs.offset ? extra!.data[0]! : 0;
    if (offset < 0 || offset + T > S)
      throw new RangeError(`attention: rows at ${offset}..${offset + T - 1}, keys 0..${S - 1}`);
    const segments = attrs.segments ? extra!.data : null;
    const scores = new Float64Array(S);
    const sums = new Float64Array(E);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const kvHead = Math.floor(h / (H / K));
        for (let i = 0; i < T; i++) {
          const qi = ((b * T + i) * H + h) * E;
          const [lo, hi] = visible(offset + i, attrs.window as number);
          let max = -Infinity;
          for (let j = lo; j <= hi; j++) {
            const kj = ((b * S + j) * K + kvHead) * E;
            let dot = 0;
            for (let e = 0; e < E; e++) dot += qData[qi + e]! * kData[kj + e]!;
            const other = segments !== null && segments[b * S + j] !== segments[b * S + i];
            scores[j] = other ? -Infinity : dot * scale;
            if (scores[j]! > max) max = scores[j]!;
          }
          let total = 0;
          sums.fill(0);
          for (let j = lo; j <= hi; j++) {
            const weight = Math.exp(scores[j]! - max);
            total += weight;
            const vj = ((b * S + j) * K + kvHead) * E;
            for (let e = 0; e < E; e++) sums[e]! += weight * vData[vj + e]!;
          }
          for (let e = 0; e < E; e++) oData[qi + e] = sums[e]! / total;
          lseData[(b * H + h) * T + i] = max + Math.log(total);
        }
      }
    }
  },
};
