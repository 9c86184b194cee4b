import { accumulatorOf, type TypedArray } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { operandBytes, type Attrs, type OpDefinition, type View } from "../op.js";
import { expectShape, sameDType, size, type TensorType } from "../shape.js";
import { attentionBackwardOp } from "./attention-backward.js";
import { matmulF64 } from "./matmul-loops.js";

export { attentionBackwardOp };

/**
 * Causal grouped-query attention. q [B, T, H·E], k and v [B, S, K·E], H a multiple of K; o [B, T, H·E]:
 *   o_i = Σ_j softmax_j(q_i·k_j·scale) v_j   over the keys j that row i may see.
 * Row i stands at position offset + i (offset 0 unless given, then i32 [1]: the tokens already in the cache); it sees key j
 * where j ≤ offset + i, j > offset + i − window (window 0: no bound) and, with segments i32 [B, S], where the
 * segments of i and j are equal. Also yields the log-sum-exp [B, H, T], f32 for bf16, for the backward op. No T×T matrix is stored.
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
function visible(position: number, window: number): [number, number] {
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
    const heads = Number.isInteger(E) && H % K === 0 && sameDType(q!, k!, v!);
    const ok = q!.shape.length === 3 && kv && heads && (attrs.offset ? T <= S : T === S);
    const wanted = `q [B,T,H·E], k and v [B,${attrs.offset ? "S≥T" : "T"},K·E] of one type, H = ${H}, K = ${K}, H a multiple of K`;
    expectShape(ok, "attention", wanted, q!, k!, v!);
    if (extra) {
      const fits = extra.dtype === "i32" && size(extra.shape) === (attrs.offset ? 1 : B * S);
      expectShape(fits, "attention", attrs.offset ? "offset i32 [1]" : "segments i32 [B,S]", extra);
    }
    return [
      { shape: q!.shape, dtype: q!.dtype },
      { shape: [B, H, T], dtype: accumulatorOf(q!.dtype) },
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
    const offset = attrs.offset ? extra!.data[0]! : 0;
    if (offset < 0 || offset + T > S) {
      throw new RangeError(`attention: rows at ${offset}..${offset + T - 1}, keys 0..${S - 1}`);
    }
    const scores = new Float64Array(PANEL * S);
    const product = new Float64Array(PANEL * E);
    for (let b = 0; b < B; b++) {
      const segments = attrs.segments ? extra!.data.subarray(b * S, (b + 1) * S) : null;
      for (let h = 0; h < H; h++) {
        const kvHead = Math.floor(h / (H / K));
        const keys = packHead(k!.data, b * S, S, kvHead, K, E);
        for (let i = 0; i < T; i += PANEL) {
          const rows = Math.min(PANEL, T - i);
          const seen = offset + i + rows;
          matmulF64(packHead(q!.data, b * T + i, rows, h, H, E), keys, scores, rows, seen, E);
          for (let r = 0; r < rows; r++) {
            const row = scores.subarray(r * seen, (r + 1) * seen);
            lse!.data[(b * H + h) * T + i + r] = softmax(row, offset + i + r, attrs, segments);
          }
          const valuesT = packHead(v!.data, b * S, seen, kvHead, K, E, true);
          matmulF64(scores, valuesT, product, rows, E, seen);
          for (let r = 0; r < rows; r++) {
            o!.data.set(product.subarray(r * E, (r + 1) * E), ((b * T + i + r) * H + h) * E);
          }
        }
      }
    }
  },
};

/** Rows of queries taken at a time; scores exist for one panel only. */
export const PANEL = 32;

/**
 * One head of `rows` rows from `first` on, as f64 [rows, E], or [E, rows] transposed. In `data` a row holds `heads` heads.
 */
export function packHead(
  data: TypedArray,
  first: number,
  rows: number,
  head: number,
  heads: number,
  E: number,
  transpose = false,
): Float64Array {
  const out = new Float64Array(rows * E);
  for (let r = 0; r < rows; r++) {
    const at = ((first + r) * heads + head) * E;
    if (transpose) for (let e = 0; e < E; e++) out[e * rows + r] = data[at + e]!;
    else for (let e = 0; e < E; e++) out[r * E + e] = data[at + e]!;
  }
  return out;
}

/** Turns a row of products q·k, by key, into probabilities, 0 where the key is not seen; returns the log-sum-exp. */
function softmax(row: Float64Array, position: number, attrs: Attrs, segments: TypedArray | null): number {
  maskAndScale(row, position, attrs, segments);
  let max = -Infinity;
  for (let j = 0; j < row.length; j++) if (row[j]! > max) max = row[j]!;
  let total = 0;
  for (let j = 0; j < row.length; j++) total += row[j] = Math.exp(row[j]! - max);
  for (let j = 0; j < row.length; j++) row[j]! /= total;
  return max + Math.log(total);
}

/** Scales a row of products q·k by key, and makes those −∞ that the row at `position` does not see. */
export function maskAndScale(row: Float64Array, position: number, attrs: Attrs, segments: TypedArray | null): void {
  const scale = attrs.scale as number;
  const [lo, hi] = visible(position, attrs.window as number);
  for (let j = 0; j < row.length; j++) {
    const hidden = j < lo || j > hi || (segments !== null && segments[j] !== segments[position]);
    row[j] = hidden ? -Infinity : row[j]! * scale;
  }
}
