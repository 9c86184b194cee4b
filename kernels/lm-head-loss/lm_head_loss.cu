// What follows the product h·Wᵀ of the LM head, for a panel of rows at a time so that the logits [N, V] are never stored whole:
//
//   lm_head_loss_rows:      lse = log Σ_v exp(logit_v), nll = lse − logit_target; nll 0 where the target is −100
//   lm_head_loss_gradient:  g_v = dnll·(exp(logit_v − lse) − [v = target]), 0 where the target is −100; g of type T
//
// logits f32 [rows, V]; a block per row. The products around them are the matmul kernels'.
#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kIgnoreTarget = -100;

constexpr int kLoads = 4;  // that a thread has on their way at once

__device__ __forceinline__ void lm_head_loss_rows(const Logits& args) {
  const int row = static_cast<int>(blockIdx.x);
  const float* const logits = args.logits + static_cast<int64_t>(row) * args.V;
  // One pass over the row: the sum so far is of exp(logit − mine), and shrinks when a larger logit comes.
  float mine = -INFINITY;
  float sum = 0;
  with_width<kPack<float>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const int step = static_cast<int>(blockDim.x) * N;
    for (int v = static_cast<int>(threadIdx.x) * N; v < args.V; v += kLoads * step) {
      float x[kLoads][N];
      float most = mine;
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
        if (v + l * step < args.V) {
          load<N>(x[l], logits + v + l * step);
        } else {
#pragma unroll
          for (int k = 0; k < N; k++) x[l][k] = -INFINITY;
        }
      }
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
#pragma unroll
        for (int k = 0; k < N; k++) most = fmaxf(most, x[l][k]);
      }
      if (most > mine) {
        sum *= power_of_two((mine - most) * kLog2e);
        mine = most;
      }
      const float shift = mine == -INFINITY ? 0.0f : mine;
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
#pragma unroll
        for (int k = 0; k < N; k++) sum += power_of_two((x[l][k] - shift) * kLog2e);
      }
    }
  });
  const float most = block_max(mine);
  sum = block_sum(sum * (mine == -INFINITY ? 0.0f : expf(mine - most)), 128);
  if (threadIdx.x > 0) return;
  const float lse = most + logf(sum);
  args.lse[row] = lse;
  const int target = args.targets[row];
  const bool known = target >= 0 && target < args.V;
  if (!known && target != kIgnoreTarget) report(args.fault, args.step, args.first + row, target);
  args.nll[row] = known ? lse - logits[target] : 0.0f;
}

template <class T>
__device__ __forceinline__ void lm_head_loss_gradient(const Logits& args) {
  const int row = static_cast<int>(blockIdx.x);
  const int64_t at = static_cast<int64_t>(row) * args.V;
  const int target = args.targets[row];
  const bool ignored = target == kIgnoreTarget;
  const float scale = ignored ? 0.0f : args.dnll[row];
  const float lse = args.lse[row];
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for (int v = static_cast<int>(threadIdx.x) * N; v < args.V; v += static_cast<int>(blockDim.x) * N) {
      float x[N];
      load<N>(x, args.logits + at + v);
#pragma unroll
      for (int k = 0; k < N; k++) {
        const float p = expf(x[k] - lse);
        x[k] = ignored ? 0.0f : scale * (v + k == target ? p - 1 : p);  // 0 beside infinite logits too
      }
      store<N>(static_cast<T*>(args.g) + at + v, x);
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(lm_head_loss_rows_f32, Logits, 512) { lm_head_loss_rows(args); }
SLAYER_KERNEL(lm_head_loss_gradient_f32, Logits, 1024) { lm_head_loss_gradient<float>(args); }
SLAYER_KERNEL(lm_head_loss_gradient_bf16, Logits, 1024) { lm_head_loss_gradient<bf16>(args); }
