// RMSNorm (Zhang & Sennrich 2019) and its gradients. x, y, dy, dx [rows, D] of type T, w [D] of type W, r [rows] f32.
//
//   rmsnorm:                  r = (mean(x²) + eps)^(−1/2),  y = x·r·w
//   rmsnorm_backward_input:   dx = r·(w∘dy − x·r²·mean(w∘dy∘x))
//   rmsnorm_backward_weight:  dw = Σ over rows of dy∘x·r   (column_sums.h)
//
// A block per row, which its threads keep in registers between the two passes; what is beyond them is read again. Sums in f32: per
// thread, then as a tree.
#include "../cuda/column_sums.h"

namespace slayer::cuda {

// Packs of a row that a thread keeps.
constexpr int kKept = 2;

// f(i, j) for j = 0, N, 2N … below `columns`, shared out over the threads of the block: a thread's own are i = 0, 1 … Kept − 1, and
// Kept for all that follow.
template <int N, int Kept, class F>
__device__ __forceinline__ void for_columns(int64_t columns, F f) {
  const int64_t step = static_cast<int64_t>(blockDim.x) * N;
  int64_t j = static_cast<int64_t>(threadIdx.x) * N;
#pragma unroll
  for (int i = 0; i < Kept; i++, j += step) {
    if (j < columns) f(i, j);
  }
  for (; j < columns; j += step) f(Kept, j);
}

template <class T, int N, int Kept>
struct Row {
  const T* data;
  Pack<T, N> kept[Kept > 0 ? Kept : 1];

  __device__ __forceinline__ Row(const void* from, int64_t row, int64_t columns) : data(static_cast<const T*>(from) + row * columns) {
#pragma unroll
    for (int i = 0; i < Kept; i++) {
      const int64_t j = (static_cast<int64_t>(threadIdx.x) + i * static_cast<int64_t>(blockDim.x)) * N;
      if (j < columns) kept[i] = load_pack<T, N>(data + j);
    }
  }
  __device__ __forceinline__ void pack() {
#pragma unroll
    for (int i = 0; i < Kept; i++) keep_packed(kept[i]);
  }
  __device__ __forceinline__ void get(float (&x)[N], int i, int64_t j) const {
    const Pack<T, N> pack = i < Kept ? kept[i < Kept ? i : 0] : load_pack<T, N>(data + j);
#pragma unroll
    for (int k = 0; k < N; k++) x[k] = to_float(pack.v[k]);
  }
};

template <class T, class W, int Kept = kKept, int KeptW = Kept, bool Packed = true>
__device__ __forceinline__ void rmsnorm(const RowNorm& args) {
  const int64_t D = args.columns;
  with_width(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    Row<T, N, Kept> x(args.x, blockIdx.x, D);
    Row<W, N, KeptW> w(args.w, 0, D);
    float squares = 0;
    for_columns<N, Kept>(D, [&](int i, int64_t j) {
      float v[N];
      x.get(v, i, j);
#pragma unroll
      for (int k = 0; k < N; k++) squares += v[k] * v[k];
    });
    const float r = 1 / sqrtf(block_sum(squares) / static_cast<float>(D) + args.eps);
    if (threadIdx.x == 0) args.r[blockIdx.x] = r;
    if (Packed) { x.pack(); w.pack(); }
    T* const y = static_cast<T*>(args.y) + blockIdx.x * D;
    for_columns<N, Kept>(D, [&](int i, int64_t j) {
      float v[N], scale[N];
      x.get(v, i, j);
      w.get(scale, i, j);
#pragma unroll
      for (int k = 0; k < N; k++) v[k] *= r * scale[k];
      store<N>(y + j, v);
    });
  });
}

template <class T, class W, int Kept = kKept, int KeptW = Kept, bool Packed = true>
__device__ __forceinline__ void rmsnorm_backward_input(const RowNorm& args) {
  const int64_t D = args.columns;
  with_width(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    Row<T, N, Kept> x(args.x, blockIdx.x, D);
    Row<T, N, Kept> dy(args.dy, blockIdx.x, D);
    Row<W, N, KeptW> w(args.w, 0, D);
    const float r = args.r[blockIdx.x];
    float dot = 0;
    for_columns<N, Kept>(D, [&](int i, int64_t j) {
      float v[N], d[N], scale[N];
      x.get(v, i, j);
      dy.get(d, i, j);
      w.get(scale, i, j);
#pragma unroll
      for (int k = 0; k < N; k++) dot += scale[k] * d[k] * v[k];
    });
    const float along = block_sum(dot) / static_cast<float>(D) * r * r;
    if (Packed) { x.pack(); dy.pack(); w.pack(); }
    T* const dx = static_cast<T*>(args.y) + blockIdx.x * D;
    for_columns<N, Kept>(D, [&](int i, int64_t j) {
      float v[N], d[N], scale[N];
      x.get(v, i, j);
      dy.get(d, i, j);
      w.get(scale, i, j);
#pragma unroll
      for (int k = 0; k < N; k++) v[k] = r * (scale[k] * d[k] - v[k] * along);
      store<N>(dx + j, v);
    });
  });
}

template <class T>
__device__ __forceinline__ void rmsnorm_backward_weight(const ColumnSums& args) {
  with_width(args.wide, [&](auto width) {
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
SLAYER_KERNEL(rmsnorm_backward_weight_f32, ColumnSums, 256) { rmsnorm_backward_weight<float>(args); }
SLAYER_KERNEL(rmsnorm_backward_weight_bf16, ColumnSums, 256) { rmsnorm_backward_weight<bf16>(args); }
