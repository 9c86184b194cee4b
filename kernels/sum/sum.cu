// sum: y [1] = Σ x; sum_of_squares: y [1] = Σ x². Two launches: each block adds its share of x in a fixed order, then one block adds
// the blocks' sums, in f64; no atomics, so that the result is the same each time.
// fill: y [n] = value; broadcast: y [n] = a [1]. T is the type of x, y of a.
#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kReductionThreads = 256;
constexpr int kLoads = 2;  // that a thread has on their way at once

// The sum over the block's threads, in thread 0.
__device__ __forceinline__ double add_threads(double x) {
  const Shared<double> sums = shared<double>(0);
  sums[threadIdx.x] = x;
  for (unsigned half = kReductionThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] = sums[threadIdx.x] + sums[threadIdx.x + half];
  }
  return sums[threadIdx.x];
}

template <class T>
__device__ __forceinline__ void reduce(const Reduction& args) {
  double total = 0;
  with_width<8>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const T* const x = static_cast<const T*>(args.x);
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * N;
    for (int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < args.n; i += kLoads * stride) {
      float v[kLoads][N] = {};
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
        if (i + l * stride < args.n) load<N>(v[l], x + i + l * stride);
      }
      float sum = 0;  // of a few terms, so that f64 is rare
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
#pragma unroll
        for (int k = 0; k < N; k++) sum += args.squares ? v[l][k] * v[l][k] : v[l][k];
      }
      total += sum;
    }
  });
  total = add_threads(total);
  if (threadIdx.x == 0) args.partial[blockIdx.x] = total;
}

template <class T>
__device__ __forceinline__ void reduce_blocks(const Reduction& args) {
  double total = 0;
  for (int b = static_cast<int>(threadIdx.x); b < args.blocks; b += kReductionThreads) total += args.partial[b];
  total = add_threads(total);
  if (threadIdx.x == 0) static_cast<T*>(args.y)[0] = from_float<T>(static_cast<float>(total));
}

template <class T>
__device__ __forceinline__ void fill(const Pointwise& args) {
  const float value = args.a == nullptr ? args.value : to_float(*static_cast<const T*>(args.a));
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    float y[N];
#pragma unroll
    for (int j = 0; j < N; j++) y[j] = value;
    for_each<N>(args.n, [&](int64_t i) { store<N>(static_cast<T*>(args.y) + i, y); });
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(reduce_f32, Reduction, 256) { reduce<float>(args); }
SLAYER_KERNEL(reduce_bf16, Reduction, 256) { reduce<bf16>(args); }
SLAYER_KERNEL(reduce_blocks_f32, Reduction, 256) { reduce_blocks<float>(args); }
SLAYER_KERNEL(reduce_blocks_bf16, Reduction, 256) { reduce_blocks<bf16>(args); }
SLAYER_KERNEL(fill_f32, Pointwise, 256) { fill<float>(args); }
SLAYER_KERNEL(fill_bf16, Pointwise, 256) { fill<bf16>(args); }
