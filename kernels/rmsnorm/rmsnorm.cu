// RMSNorm (Zhang & Sennrich 2019) and its gradients. x, y, dy, dx [rows, D] of type T, w [D] of type W, r [rows] f32.
//
//   rmsnorm:                  r = (mean(x²) + eps)^(−1/2),  y = x·r·w
//   rmsnorm_backward_input:   dx = r·(w∘dy − x·r²·mean(w∘dy∘x))
//   rmsnorm_backward_weight:  dw = Σ over rows of dy∘x·r   (column_sums.h)
//
// A block per row; the second pass over the row finds it in the cache. Sums in f32: per thread, then as a tree.
#include "../cuda/column_sums.h"

namespace slayer::cuda {

// f(j) for j = 0, N, 2N … below `columns`, shared out over the threads of the block.
template <int N, class F>
__device__ __forceinline__ void for_columns(int64_t columns, F f) {
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * N; j < columns; j += static_cast<int64_t>(blockDim.x) * N) f(j);
}

template <class T, class W>
__device__ __forceinline__ void rmsnorm(const RowNorm& args) {
  const int64_t D = args.columns;
  const T* const x = static_cast<const T*>(args.x) + blockIdx.x * D;
  T* const y = static_cast<T*>(args.y) + blockIdx.x * D;
  with_width(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    float squares = 0;
    for_columns<N>(D, [&](int64_t j) {
      float v[N];
      load<N>(v, x + j);
#pragma unroll
      for (int i = 0; i < N; i++) squares += v[i] * v[i];
    });
    const float r = 1 / sqrtf(block_sum(squares) / static_cast<float>(D) + args.eps);
    if (threadIdx.x == 0) args.r[blockIdx.x] = r;
    for_columns<N>(D, [&](int64_t j) {
      float v[N], w[N];
      load<N>(v, x + j);
      load<N>(w, static_cast<const W*>(args.w) + j);
#pragma unroll
      for (int i = 0; i < N; i++) v[i] *= r * w[i];
      store<N>(y + j, v);
    });
  });
}

template <class T, class W>
__device__ __forceinline__ void rmsnorm_backward_input(const RowNorm& args) {
  const int64_t D = args.columns;
  const T* const x = static_cast<const T*>(args.x) + blockIdx.x * D;
  const T* const dy = static_cast<const T*>(args.dy) + blockIdx.x * D;
  T* const dx = static_cast<T*>(args.y) + blockIdx.x * D;
  const float r = args.r[blockIdx.x];
  with_width(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    float dot = 0;
    for_columns<N>(D, [&](int64_t j) {
      float v[N], w[N], d[N];
      load<N>(v, x + j);
      load<N>(d, dy + j);
      load<N>(w, static_cast<const W*>(args.w) + j);
#pragma unroll
      for (int i = 0; i < N; i++) dot += w[i] * d[i] * v[i];
    });
    const float along = block_sum(dot) / static_cast<float>(D) * r * r;
    for_columns<N>(D, [&](int64_t j) {
      float v[N], w[N], d[N];
      load<N>(v, x + j);
      load<N>(d, dy + j);
      load<N>(w, static_cast<const W*>(args.w) + j);
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = r * (w[i] * d[i] - v[i] * along);
      store<N>(dx + j, v);
    });
  });
}

template <class T>
__device__ __forceinline__ void rmsnorm_backward_weight(const ColumnSums& args) {
  sum_chunk(args, [&](int64_t i, int64_t j) {
    const int64_t at = i * args.columns + j;
    return to_float(static_cast<const T*>(args.dy)[at]) * to_float(static_cast<const T*>(args.x)[at]) * args.r[i];
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(rmsnorm_f32_f32, RowNorm, 256) { rmsnorm<float, float>(args); }
SLAYER_KERNEL(rmsnorm_f32_bf16, RowNorm, 256) { rmsnorm<float, bf16>(args); }
SLAYER_KERNEL(rmsnorm_bf16_f32, RowNorm, 256) { rmsnorm<bf16, float>(args); }
SLAYER_KERNEL(rmsnorm_bf16_bf16, RowNorm, 256) { rmsnorm<bf16, bf16>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_f32_f32, RowNorm, 256) { rmsnorm_backward_input<float, float>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_f32_bf16, RowNorm, 256) { rmsnorm_backward_input<float, bf16>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_bf16_f32, RowNorm, 256) { rmsnorm_backward_input<bf16, float>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_bf16_bf16, RowNorm, 256) { rmsnorm_backward_input<bf16, bf16>(args); }
SLAYER_KERNEL(rmsnorm_backward_weight_f32, ColumnSums, 256) { rmsnorm_backward_weight<float>(args); }
SLAYER_KERNEL(rmsnorm_backward_weight_bf16, ColumnSums, 256) { rmsnorm_backward_weight<bf16>(args); }
