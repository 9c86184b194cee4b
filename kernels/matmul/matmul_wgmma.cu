// C [m, n] = A [m, k]·Bᵀ, B [n, k] (layout nt), on Hopper's tensor cores; bf16, sums in f32, C bf16 or f32. The same tiles in shared memory
// as matmul_mma.cu's, read there by the tensor cores themselves.
//
// A block of 2 warpgroups makes a tile of 128 × 256, a warpgroup 64 × 256 of it. Tiles of 64 steps of k pass through four stages: one is
// multiplied while the products of the one before may still run, and two are on their way (cp.async). A stage is filled again two
// steps after its products began, when every warpgroup has waited for them. Needs k to be a multiple of 8, and 16-byte alignment.
#include "mma_tiles.h"
#if defined(__CUDACC__)
#include "../cuda/nvidia_warpgroup.h"
#else
#include "../cuda-host/warpgroup.h"
#endif

namespace slayer::cuda {

constexpr int kGroupStages = 4;
constexpr int kGroupAhead = kGroupStages - 2;
constexpr int kGroupStageBytes = (kMmaRows + kGroupColumns) * kMmaSteps * 2;

template <class C>
__device__ __forceinline__ void matmul_wgmma_nt(const Gemm& args) {
  const auto [first_row, first_column] = tile_place(args.m, args.n, kMmaRows, kGroupColumns, static_cast<int>(blockIdx.x));
  const MmaOperand<kMmaRows, false> a{static_cast<const bf16*>(args.a), args.m, args.k, first_row};
  const MmaOperand<kGroupColumns, false> b{static_cast<const bf16*>(args.b), args.n, args.k, first_column};
  const int group_row = static_cast<int>(threadIdx.x) / 128 * 64;

  const int steps = (args.k + kMmaSteps - 1) / kMmaSteps;
  const auto stage = [](int step) { return shared<bf16>(step % kGroupStages * kGroupStageBytes); };
  const auto begin = [&](int step) {
    if (step < steps) {
      a.copy(stage(step), step * kMmaSteps);
      b.copy(stage(step) + kMmaRows * kMmaSteps, step * kMmaSteps);
    }
    commit_copies();
  };
  GroupSums sums = {};
  for (int step = 0; step < kGroupAhead; step++) begin(step);
  for (int step = 0; step < steps; step++) {
    wait_copies<kGroupAhead - 1>();
    fence_for_products();
    __syncthreads();
    begin_products();
    const Shared<bf16> tile_a = stage(step) + group_row * kMmaSteps;
    const Shared<bf16> tile_b = stage(step) + kMmaRows * kMmaSteps;
#pragma unroll
    for (int k = 0; k < kMmaSteps; k += 16) multiply_tiles(sums, tile_a, tile_b, k);
    commit_products();
    begin(step + kGroupAhead);
    wait_products<1>();
  }
  wait_products<0>();
  wait_copies<0>();

  const int lane = static_cast<int>(lane_index());
  const int row = first_row + group_row + static_cast<int>(warp_index()) % 4 * 16 + lane / 4;
#pragma unroll
  for (int j = 0; j < kGroupColumns / 8; j++) {
    const int column = first_column + 8 * j + lane % 4 * 2;
    store_pair<C>(args, row, column, sums[4 * j], sums[4 * j + 1]);
    store_pair<C>(args, row + 8, column, sums[4 * j + 2], sums[4 * j + 3]);
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(matmul_wgmma_nt_bf16, Gemm, 256) { matmul_wgmma_nt<bf16>(args); }
SLAYER_KERNEL(matmul_wgmma_nt_f32, Gemm, 256) { matmul_wgmma_nt<float>(args); }
