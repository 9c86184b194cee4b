// matmul_mma.cu's products in its wide tiles, by as many blocks as run at once: block b makes tiles b, b + blocks, b + 2·blocks … All steps of
// all its tiles pass through one pipeline, so that while a tile's results are stored, the next one's operands are on their way. The sums
// are the same, in the same order. Whether that is faster is for the tuner to find out.
#include "mma_tiles.h"

namespace slayer::cuda {

constexpr int kPersistentColumns = 256;

template <bool TransposeA, bool TransposeB, class C>
__device__ __forceinline__ void matmul_mma_persistent(const Gemm& args) {
  constexpr int kStageBytes = (kMmaRows + kPersistentColumns) * kMmaSteps * 2;
  const int blocks = static_cast<int>(gridDim.x);
  const int block = static_cast<int>(blockIdx.x);
  const int tiles = (args.m + kMmaRows - 1) / kMmaRows * ((args.n + kPersistentColumns - 1) / kPersistentColumns);
  const int steps = (args.k + kMmaSteps - 1) / kMmaSteps;
  const int64_t all = static_cast<int64_t>((tiles - block + blocks - 1) / blocks) * steps;

  const auto place = [&](int64_t step) {
    return tile_place(args.m, args.n, kMmaRows, kPersistentColumns, block + static_cast<int>(step / steps) * blocks);
  };
  const auto stage = [](int64_t step) { return shared<bf16>(static_cast<int>(step % kMmaStages) * kStageBytes); };
  const auto begin = [&](int64_t step) {
    if (step < all) {
      const auto [row, column] = place(step);
      const int from = static_cast<int>(step % steps) * kMmaSteps;
      const MmaOperand<kMmaRows, TransposeA> a{static_cast<const bf16*>(args.a), args.m, args.k, row};
      const MmaOperand<kPersistentColumns, !TransposeB> b{static_cast<const bf16*>(args.b), args.n, args.k, column};
      a.copy(stage(step), from);
      b.copy(stage(step) + kMmaRows * kMmaSteps, from);
    }
    commit_copies();
  };

  WarpTile<kPersistentColumns> warp;
  for (int step = 0; step < kMmaStages - 1; step++) begin(step);
  for (int64_t step = 0; step < all; step++) {
    wait_copies<kMmaStages - 2>();
    __syncthreads();
    begin(step + kMmaStages - 1);
    const Shared<bf16> tile_a = stage(step);
    warp.template add<TransposeA, TransposeB>(tile_a, tile_a + kMmaRows * kMmaSteps);
    if (step % steps != steps - 1) continue;
    const auto [row, column] = place(step);
    store_tile<C>(args, warp, row, column);
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int j = 0; j < warp.kColumns / 8; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) warp.sums[i][j][e] = 0;
      }
    }
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(matmul_mma_persistent_nn_bf16, Gemm, 256) { matmul_mma_persistent<false, false, bf16>(args); }
SLAYER_KERNEL(matmul_mma_persistent_nt_bf16, Gemm, 256) { matmul_mma_persistent<false, true, bf16>(args); }
SLAYER_KERNEL(matmul_mma_persistent_tn_bf16, Gemm, 256) { matmul_mma_persistent<true, false, bf16>(args); }
SLAYER_KERNEL(matmul_mma_persistent_tt_bf16, Gemm, 256) { matmul_mma_persistent<true, true, bf16>(args); }
SLAYER_KERNEL(matmul_mma_persistent_nn_f32, Gemm, 256) { matmul_mma_persistent<false, false, float>(args); }
SLAYER_KERNEL(matmul_mma_persistent_nt_f32, Gemm, 256) { matmul_mma_persistent<false, true, float>(args); }
SLAYER_KERNEL(matmul_mma_persistent_tn_f32, Gemm, 256) { matmul_mma_persistent<true, false, float>(args); }
SLAYER_KERNEL(matmul_mma_persistent_tt_f32, Gemm, 256) { matmul_mma_persistent<true, true, float>(args); }
