import type { TypedArray } from "../dtype.js";
import { operandBytes, type OpDefinition } from "../op.js";
import { expectShape, sameMatrix, sameShape } from "../shape.js";
import { attentionProductFlops, attentionSizes, maskAndScale, packHead, PANEL } from "./attention.js";
import { matmulF64, transposed } from "./matmul-loops.js";

/**
 * Gradient of attention (Dao et al. 2022, algorithm 4, tiled by rows). With p_ij = exp(q_i·k_j·scale − lse_i):
 *   dv_j = Σ_i p_ij do_i      ds_ij = p_ij (do_i·v_j − do_i·o_i)      dq_i = scale Σ_j ds_ij k_j      dk_j = scale Σ_i ds_ij q_i
 * where the heads of a group add up in dk and dv. Operands do, q, k, v, o, lse and segments if the forward op had them.
 */
export const attentionBackwardOp: OpDefinition = {
  infer([dOut, q, k, v, o, lse], attrs) {
    const { B, T, H, K, E } = attentionSizes(q!, k!, attrs);
    const queries = [dOut!, o!].every((t) => sameMatrix(t.shape, q!.shape)) && sameShape(lse!.shape, [B, H, T]);
    const ok = queries && [k!, v!].every((t) => sameShape(t.shape, [B, T, K * E]));
    const wanted = "do, q and o [B,T,H·E], k and v [B,T,K·E], log-sum-exp [B,H,T]";
    expectShape(ok, "attention_backward", wanted, dOut!, q!, k!, v!, o!, lse!);
    return [q!, k!, v!].map((t) => ({ shape: t.shape, dtype: t.dtype }));
  },

  // Model FLOPs are the four products dv, dp, dq, dk; computing p again is work, but not model FLOPs.
  cost(inputs, outputs, attrs) {
    const product = attentionProductFlops(inputs[1]!, inputs[2]!, attrs);
    const { E } = attentionSizes(inputs[1]!, inputs[2]!, attrs);
    const elementwise = Math.round((3 * product) / (2 * E));
    return { flops: 5 * product + elementwise, matmulFlops: 4 * product, bytes: operandBytes(...inputs, ...outputs) };
  },

  reference([dOut, q, k, v, o, lse, extra], [dq, dk, dv], attrs) {
    const { B, T, H, K, E } = attentionSizes(q!, k!, attrs);
    const scale = attrs.scale as number;
    const p = new Float64Array(PANEL * T);
    const ds = new Float64Array(PANEL * T);
    const product = new Float64Array(T * E);
    const dkSum = new Float64Array(dk!.data.length);
    const dvSum = new Float64Array(dv!.data.length);
    for (let b = 0; b < B; b++) {
      const segments = attrs.segments ? extra!.data.subarray(b * T, (b + 1) * T) : null;
      for (let h = 0; h < H; h++) {
        const kvHead = Math.floor(h / (H / K));
        const keys = packHead(k!.data, b * T, T, kvHead, K, E);
        const values = packHead(v!.data, b * T, T, kvHead, K, E);
        for (let i = 0; i < T; i += PANEL) {
          const rows = Math.min(PANEL, T - i);
          const seen = i + rows;
          const panel = (data: TypedArray, transpose: boolean) => packHead(data, b * T + i, rows, h, H, E, transpose);
          const rowsOfDOut = panel(dOut!.data, false);
          const rowsOfO = panel(o!.data, false);
          matmulF64(panel(q!.data, false), keys, p, rows, seen, E);
          matmulF64(rowsOfDOut, values, ds, rows, seen, E);
          for (let r = 0; r < rows; r++) {
            maskAndScale(p.subarray(r * seen, (r + 1) * seen), i + r, attrs, segments);
            const logSum = lse!.data[(b * H + h) * T + i + r]!;
            let delta = 0;
            for (let e = 0; e < E; e++) delta += rowsOfDOut[r * E + e]! * rowsOfO[r * E + e]!;
            for (let j = r * seen; j < (r + 1) * seen; j++) {
              p[j] = Math.exp(p[j]! - logSum);
              ds[j] = p[j]! * (ds[j]! - delta) * scale;
            }
          }
          matmulF64(ds, packHead(k!.data, b * T, seen, kvHead, K, E, true), product, rows, E, seen);
          for (let r = 0; r < rows; r++) {
            dq!.data.set(product.subarray(r * E, (r + 1) * E), ((b * T + i + r) * H + h) * E);
          }
          matmulF64(transposed(ds, rows, seen), panel(q!.data, true), product, seen, E, rows);
          addHead(dkSum, product, b * T, seen, kvHead, K, E);
          matmulF64(transposed(p, rows, seen), panel(dOut!.data, true), product, seen, E, rows);
          addHead(dvSum, product, b * T, seen, kvHead, K, E);
        }
      }
    }
    dk!.data.set(dkSum);
    dv!.data.set(dvSum);
  },
};

/** Adds a head [rows, E] into its place among the heads of `sums`. */
function addHead(
  sums: Float64Array,
  part: Float64Array,
  first: number,
  rows: number,
  head: number,
  heads: number,
  E: number,
): void {
  for (let r = 0; r < rows; r++) {
    const at = ((first + r) * heads + head) * E;
    for (let e = 0; e < E; e++) sums[at + e]! += part[r * E + e]!;
  }
}
