// sum: y [1] = Σ x; sum_of_squares: y [1] = Σ x². Two launches: each block adds its share of x in a fixed order, then one block adds
// the blocks' sums, in f64; no atomics, so that the result is the same each time.
// fill: y [n] = value; broadcast: y [n] = a [1]. T is the type of x, y of a.
#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kReductionThreads = 256;

template <class T>
__device__ __forceinline__ void reduce(const Reduction& args) {
  const T* const x = static_cast<const T*>(args.x);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  double total = 0;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  while (i < args.n) {
    float sum = 0;  // of a few terms, so that f64 is rare
#pragma unroll 4
    for (int k = 0; k < 16 && i < args.n; k++, i += stride) {
      const float v = to_float(x[i]);
      sum += args.squares ? v * v : v;
    }
    total += sum;
  }
  const Shared<double> sums = shared<double>(0);
  sums[threadIdx.x] = total;
  for (unsigned half = kReductionThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] = sums[threadIdx.x] + sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) args.partial[blockIdx.x] = sums[0];
}

template <class T>
__device__ __forceinline__ void reduce_blocks(const Reduction& args) {
  if (threadIdx.x > 0) return;
  double total = 0;
  for (int b = 0; b < args.blocks; b++) total += args.partial[b];
  static_cast<T*>(args.y)[0] = from_float<T>(static_cast<float>(total));
}

template <class T>
__device__ __forceinline__ void fill(const Pointwise& args) {
  const float value = args.a == nullptr ? args.value : to_float(*static_cast<const T*>(args.a));
  with_width(args.wide, [&](auto width) {
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
SLAYER_KERNEL(reduce_blocks_f32, Reduction, 32) { reduce_blocks<float>(args); }
SLAYER_KERNEL(reduce_blocks_bf16, Reduction, 32) { reduce_blocks<bf16>(args); }
SLAYER_KERNEL(fill_f32, Pointwise, 256) { fill<float>(args); }
SLAYER_KERNEL(fill_bf16, Pointwise, 256) { fill<bf16>(args); }
