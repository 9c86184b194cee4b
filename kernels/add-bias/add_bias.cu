// y [n] = x [n] + b [columns], b repeated along the rows; and s [columns] = Σ over rows of x, b's gradient, in f32 or x's type.
// x and y of type T, b of type W.
#include "../cuda/column_sums.h"

namespace slayer::cuda {

template <class T, class W>
__device__ __forceinline__ void add_bias(const Pointwise& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float x[N], b[N];
      load<N>(x, static_cast<const T*>(args.a) + i);
      load<N>(b, static_cast<const W*>(args.b) + i % args.columns);
#pragma unroll
      for (int j = 0; j < N; j++) x[j] += b[j];
      store<N>(static_cast<T*>(args.y) + i, x);
    });
  });
}

template <class T>
__device__ __forceinline__ void sum_rows(const ColumnSums& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    sum_chunk<N>(args, [&](int64_t i, int64_t j, float (&sums)[N]) {
      float x[N];
      load<N>(x, static_cast<const T*>(args.x) + i * args.columns + j);
#pragma unroll
      for (int k = 0; k < N; k++) sums[k] += x[k];
    });
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(add_bias_f32_f32, Pointwise, 256) { add_bias<float, float>(args); }
SLAYER_KERNEL(add_bias_f32_bf16, Pointwise, 256) { add_bias<float, bf16>(args); }
SLAYER_KERNEL(add_bias_bf16_f32, Pointwise, 256) { add_bias<bf16, float>(args); }
SLAYER_KERNEL(add_bias_bf16_bf16, Pointwise, 256) { add_bias<bf16, bf16>(args); }
SLAYER_KERNEL(sum_rows_f32, ColumnSums, 256) { sum_rows<float>(args); }
SLAYER_KERNEL(sum_rows_bf16, ColumnSums, 256) { sum_rows<bf16>(args); }
SLAYER_KERNEL(add_chunks_f32, ColumnTotals, 256) { add_chunks<float>(args); }
SLAYER_KERNEL(add_chunks_bf16, ColumnTotals, 256) { add_chunks<bf16>(args); }
