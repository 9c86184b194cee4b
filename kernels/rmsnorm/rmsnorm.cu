// RMSNorm (Zhang & Sennrich 2019) and its gradients. x, y, dy, dx, c [rows, D] of type T, w [D] of type W, r [rows] f32.
//
//   rmsnorm:                     r = (mean(x²) + eps)^(−1/2),  y = x·r·w
//   rmsnorm_backward_input:      dx = r·(w∘dy − x·r²·mean(w∘dy∘x))
//   rmsnorm_backward_input_add:  dx + c, rounded once
//   rmsnorm_backward_weight:     dw = Σ over rows of dy∘x·r   (column_sums.h)
//
// A block per row. Sums in f32: per thread, then as a tree.
#include "../cuda/column_sums.h"

namespace slayer::cuda {

// f(j) for j = first, first + N·threads … below `columns`: what is left of a row for one of the block's threads.
template <int N, class F>
__device__ __forceinline__ void for_columns(int64_t first, int64_t columns, F f) {
  for (int64_t j = first; j < columns; j += static_cast<int64_t>(blockDim.x) * N) f(j);
}

// Packs of a row, and of w, that a thread keeps from the first pass over them to the second; it reads the others again.
constexpr int kKept = 2;

template <class T, class W>
__device__ __forceinline__ void rmsnorm(const RowNorm& args) {
  const int64_t D = args.columns;
  const T* const x = static_cast<const T*>(args.x) + blockIdx.x * D;
  const W* const w = static_cast<const W*>(args.w);
  T* const y = static_cast<T*>(args.y) + blockIdx.x * D;
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const auto column = [](int i) { return (threadIdx.x + i * static_cast<int64_t>(blockDim.x)) * N; };
    Pack<T, N> xs[kKept];
    Pack<W, N> ws[kKept];
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      if (column(i) >= D) continue;
      xs[i] = load_pack<T, N>(x + column(i));
      ws[i] = load_pack<W, N>(w + column(i));
    }
    float squares = 0;
    const auto add = [&](const Pack<T, N>& pack) {
#pragma unroll
      for (int k = 0; k < N; k++) squares += to_float(pack.v[k]) * to_float(pack.v[k]);
    };
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      if (column(i) < D) add(xs[i]);
    }
    for_columns<N>(column(kKept), D, [&](int64_t j) { add(load_pack<T, N>(x + j)); });
    const float r = 1 / sqrtf(block_sum(squares) / static_cast<float>(D) + args.eps);
    if (threadIdx.x == 0) args.r[blockIdx.x] = r;
    const auto scale = [&](int64_t j, const Pack<T, N>& pack, const Pack<W, N>& weights) {
      float v[N];
#pragma unroll
      for (int k = 0; k < N; k++) v[k] = to_float(pack.v[k]) * (r * to_float(weights.v[k]));
      store<N>(y + j, v);
    };
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      keep_packed(xs[i]);
      keep_packed(ws[i]);
      if (column(i) < D) scale(column(i), xs[i], ws[i]);
    }
    for_columns<N>(column(kKept), D, [&](int64_t j) { scale(j, load_pack<T, N>(x + j), load_pack<W, N>(w + j)); });
  });
}

template <class T, class W, bool Add = false>
__device__ __forceinline__ void rmsnorm_backward_input(const RowNorm& args) {
  const int64_t D = args.columns;
  const T* const x = static_cast<const T*>(args.x) + blockIdx.x * D;
  const T* const dy = static_cast<const T*>(args.dy) + blockIdx.x * D;
  T* const dx = static_cast<T*>(args.y) + blockIdx.x * D;
  const float r = args.r[blockIdx.x];
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    // f(j, x, w, dy) for this thread's parts of the row.
    const auto for_row = [&](auto f) {
      for_columns<N>(static_cast<int64_t>(threadIdx.x) * N, D, [&](int64_t j) {
        float v[N], w[N], d[N];
        load<N>(v, x + j);
        load<N>(d, dy + j);
        load<N>(w, static_cast<const W*>(args.w) + j);
        f(j, v, w, d);
      });
    };
    float dot = 0;
    for_row([&](int64_t, const auto& v, const auto& w, const auto& d) {
#pragma unroll
      for (int i = 0; i < N; i++) dot += w[i] * d[i] * v[i];
    });
    const float along = block_sum(dot) / static_cast<float>(D) * r * r;
    // This pass finds the row in the cache.
    for_row([&](int64_t j, auto& v, const auto& w, const auto& d) {
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = r * (w[i] * d[i] - v[i] * along);
      if constexpr (Add) {
        float c[N];
        load<N>(c, static_cast<const T*>(args.addend) + blockIdx.x * D + j);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] += c[i];
      }
      store<N>(dx + j, v);
    });
  });
}

template <class T>
__device__ __forceinline__ void rmsnorm_backward_weight(const ColumnSums& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    sum_chunk<N>(args, [&](int64_t i, int64_t j, float (&sums)[N]) {
      float dy[N], x[N];
      load<N>(dy, static_cast<const T*>(args.dy) + i * args.columns + j);
      load<N>(x, static_cast<const T*>(args.x) + i * args.columns + j);
      const float r = args.r[i];
#pragma unroll
      for (int k = 0; k < N; k++) sums[k] += dy[k] * x[k] * r;
    });
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
SLAYER_KERNEL(rmsnorm_backward_input_add_f32_f32, RowNorm, 256) { rmsnorm_backward_input<float, float, true>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_add_f32_bf16, RowNorm, 256) { rmsnorm_backward_input<float, bf16, true>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_add_bf16_f32, RowNorm, 256) { rmsnorm_backward_input<bf16, float, true>(args); }
SLAYER_KERNEL(rmsnorm_backward_input_add_bf16_bf16, RowNorm, 256) { rmsnorm_backward_input<bf16, bf16, true>(args); }
SLAYER_KERNEL(rmsnorm_backward_weight_f32, ColumnSums, 256) { rmsnorm_backward_weight<float>(args); }
SLAYER_KERNEL(rmsnorm_backward_weight_bf16, ColumnSums, 256) { rmsnorm_backward_weight<bf16>(args); }
