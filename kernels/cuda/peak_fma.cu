// What the ordinary cores compute at most: each thread runs 16 independent chains of multiply-adds, `rounds` long. Each chain tends to 1; their
// sum is stored so that nothing can be left out. sums [threads of the grid] f32.
#include "device.h"

namespace slayer::cuda {

constexpr int kChains = 16;

__device__ __forceinline__ void run_chains(const Chains& args) {
  const float rest = 1 - args.factor;
  float x[kChains];
#pragma unroll
  for (int i = 0; i < kChains; i++) x[i] = static_cast<float>(threadIdx.x + static_cast<unsigned>(i));
#pragma unroll 16
  for (int round = 0; round < args.rounds; round++) {
#pragma unroll
    for (int i = 0; i < kChains; i++) x[i] = fmaf(x[i], args.factor, rest);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kChains; i++) sum += x[i];
  args.sums[static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(peak_fma, Chains, 256) { run_chains(args); }
