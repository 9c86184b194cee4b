import { operandBytes, type OpDefinition } from "../op.js";
import { attentionProductFlops, attentionSizes, visible } from "./attention.js";

/**
 * Gradient of attention (Dao et al. 2022, algorithm 4, without tiling). With p_ij = exp(q_i·k_j·scale − lse_i):
 *   dv_j = Σ_i p_ij do_i      ds_ij = p_ij (do_i·v_j − do_i·o_i)      dq_i = scale Σ_j ds_ij k_j      dk_j = scale Σ_i ds_ij q_i
 * where the heads of a group add up in dk and dv. Operands do, q, k, v, o, lse and segments if the forward op had them.
 */
export const attentionBackwardOp: OpDefinition = {
  infer: ([, q, k, v]) => [q!, k!, v!].map((t) => ({ shape: t.shape, dtype: t.dtype })),

  // Model FLOPs are the four products dv, dp, dq, dk; computing p again is work, but not model FLOPs.
  cost(inputs, outputs, attrs) {
    const product = attentionProductFlops(inputs[1]!, inputs[2]!, attrs);
    const { E } = attentionSizes(inputs[1]!, inputs[2]!, attrs);
    const elementwise = Math.round((3 * product) / (2 * E));
    return { flops: 5 * product + elementwise, matmulFlops: 4 * product, bytes: operandBytes(...inputs, ...outputs) };
  },

  reference([dOut, q, k, v, o, lse, extra], [dq, dk, dv], attrs) {
    const { B, T, S, H, K, E } = attentionSizes(q!, k!, attrs);
    const scale = attrs.scale as number;
    // Plain locals: property loads inside the innermost loops would cost as much as the arithmetic.
    const [dOutData, qData, kData, vData, oData, lseData] = [dOut!.data, q!.data, k!.data, v!.data, o!.data, lse!.data];
    const [dqData, dkData, dvData] = [dq!.data, dk!.data, dv!.data];
    const segments = attrs.segments ? extra!.data : null;
    const dkSum = new Float64Array(dkData.length);
    const dvSum = new Float64Array(dvData.length);
    const dqSum = new Float64Array(E);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const kvHead = Math.floor(h / (H / K));
        for (let i = 0; i < T; i++) {
          const qi = ((b * T + i) * H + h) * E;
          const logSum = lseData[(b * H + h) * T + i]!;
          let delta = 0;
          for (let e = 0; e < E; e++) delta += dOutData[qi + e]! * oData[qi + e]!;
          const [lo, hi] = visible(i, attrs.window as number);
          dqSum.fill(0);
          for (let j = lo; j <= hi; j++) {
            if (segments !== null && segments[b * S + j] !== segments[b * S + i]) continue;
            const kj = ((b * S + j) * K + kvHead) * E;
            let score = 0;
            let dp = 0;
            for (let e = 0; e < E; e++) {
              score += qData[qi + e]! * kData[kj + e]!;
              dp += dOutData[qi + e]! * vData[kj + e]!;
            }
            const p = Math.exp(score * scale - logSum);
            const ds = p * (dp - delta) * scale;
            for (let e = 0; e < E; e++) {
              dqSum[e]! += ds * kData[kj + e]!;
              dkSum[kj + e]! += ds * qData[qi + e]!;
              dvSum[kj + e]! += p * dOutData[qi + e]!;
            }
          }
          dqData.set(dqSum, qi);
        }
      }
    }
    dkData.set(dkSum);
    dvData.set(dvSum);
  },
};
