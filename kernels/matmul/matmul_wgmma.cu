// Products on Hopper's tensor cores: C [m, n] = op(A)·op(B), bf16, sums in f32, C bf16 or f32, with or without an addend; and SwiGLU's, as
// matmul_swiglu.cu has it. As in matmul_mma.cu the name says which operand lies transposed, as in BLAS.
//
// Two blocks, a cluster, make a tile of 256 × 256 together: each 128 rows of it, two warpgroups 64 × 256 each. Of a third warpgroup one thread has
// the copy engine bring tiles of 64 steps of k through four stages: each block's own rows of A, and half of the columns of B for both blocks.
// Clusters go on from tile to tile, and the next one's operands come while results are stored. Needs k, m of a transposed A and
// n of a B that is not to be multiples of 8, and 16-byte alignment.
#include "wgmma_tiles.h"

namespace slayer::cuda {

__device__ __forceinline__ float low_half(uint32_t pair) { return to_float(bf16{static_cast<uint16_t>(pair)}); }
__device__ __forceinline__ float high_half(uint32_t pair) { return to_float(bf16{static_cast<uint16_t>(pair >> 16)}); }

template <class C>
__device__ __forceinline__ void store_sums(const Gemm& args, const GroupSums<kPairColumns>& sums, int row, int column) {
  const int lane = static_cast<int>(lane_index());
  row += static_cast<int>(warp_index()) % 4 * 16 + lane / 4;
  if (sizeof(C) == 2 && args.n % 8 == 0) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int j = 0; j < kPairColumns / 8; j += 4) {
        const QuadRows rows{args.m, args.n, row + 8 * half, column + 8 * j};
        Pack<uint32_t, 4> addend{}, pairs;
        if (args.addend != nullptr) addend = rows.load(args.addend);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float* const pair = sums + 4 * (j + i) + 2 * half;
          pairs.v[i] = args.addend == nullptr ? pack_bf16(pair[0], pair[1])
                                              : pack_bf16(low_half(addend.v[i]) + pair[0], high_half(addend.v[i]) + pair[1]);
        }
        rows.store(args.c, pairs);
      }
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < kPairColumns / 8; j++) {
    const int at = column + 8 * j + lane % 4 * 2;
    store_pair<C>(args, row, at, sums[4 * j], sums[4 * j + 1]);
    store_pair<C>(args, row + 8, at, sums[4 * j + 2], sums[4 * j + 3]);
  }
}

template <bool TransposeA, bool TransposeB, class C>
__device__ __forceinline__ void matmul_wgmma(const GroupGemm& args) {
  const int rank = static_cast<int>(cluster_rank());
  const auto load = [&](Shared<bf16> to, Barrier barrier, TilePlace place, int k) {
#pragma unroll
    for (int i = 0; i < 2; i++) copy_operand<TransposeA>(to + i * kBox, args.a, barrier, place.row + 128 * rank + 64 * i, k);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      copy_operand_to_both<!TransposeB>(to + (2 + 2 * rank + i) * kBox, args.b, barrier, place.column + 128 * rank + 64 * i, k);
    }
  };
  const auto store = [&](const GroupSums<kPairColumns>& sums, int row, int column) { store_sums<C>(args.gemm, sums, row, column); };
  for_pair_tiles<TransposeA, !TransposeB>(args.gemm.m, args.gemm.n, args.gemm.k, kPairColumns, load, store);
}

__device__ __forceinline__ float silu(float g) { return g / (1.0f + expf(-g)); }

// Of B's 256 columns the first half are gate's, the second up's: a thread has both of an element.
__device__ __forceinline__ void store_swiglu(const SwigluProducts& args, const GroupSums<kPairColumns>& sums, int row, int column) {
  constexpr int kUp = kPairColumns / 4;
  row += static_cast<int>(warp_index()) % 4 * 16 + static_cast<int>(lane_index()) / 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int j = 0; j < kPairColumns / 16; j += 4) {
      const QuadRows rows{args.m, args.n, row + 8 * half, column + 8 * j};
      Pack<uint32_t, 4> gate, up, y;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* const g = sums + 4 * (j + i) + 2 * half;
        const float* const u = g + kUp;
        gate.v[i] = pack_bf16(g[0], g[1]);
        up.v[i] = pack_bf16(u[0], u[1]);
        y.v[i] = pack_bf16(silu(g[0]) * u[0], silu(g[1]) * u[1]);
      }
      if (args.g != nullptr) rows.store(args.g, gate);
      if (args.u != nullptr) rows.store(args.u, up);
      rows.store(args.y, y);
    }
  }
}

__device__ __forceinline__ void matmul_swiglu_wgmma(const GroupSwiglu& args) {
  const int rank = static_cast<int>(cluster_rank());
  const auto load = [&](Shared<bf16> to, Barrier barrier, TilePlace place, int k) {
#pragma unroll
    for (int i = 0; i < 2; i++) copy_operand<false>(to + i * kBox, args.x, barrier, place.row + 128 * rank + 64 * i, k);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      copy_operand_to_both<false>(to + (2 + 2 * rank + i) * kBox, rank == 0 ? args.gate : args.up, barrier, place.column + 64 * i, k);
    }
  };
  const auto store = [&](const GroupSums<kPairColumns>& sums, int row, int column) { store_swiglu(args.products, sums, row, column); };
  for_pair_tiles<false, false>(args.products.m, args.products.n, args.products.k, kPairColumns / 2, load, store);
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

#define SLAYER_WGMMA(layout, TransposeA, TransposeB)                                                    \
  SLAYER_CLUSTER_KERNEL(matmul_wgmma_##layout##_bf16, GroupGemm, 384, 2) { matmul_wgmma<TransposeA, TransposeB, bf16>(args); } \
  SLAYER_CLUSTER_KERNEL(matmul_wgmma_##layout##_f32, GroupGemm, 384, 2) { matmul_wgmma<TransposeA, TransposeB, float>(args); }
SLAYER_WGMMA(nn, false, false)
SLAYER_WGMMA(nt, false, true)
SLAYER_WGMMA(tn, true, false)
SLAYER_WGMMA(tt, true, true)
SLAYER_CLUSTER_KERNEL(matmul_swiglu_wgmma_bf16, GroupSwiglu, 384, 2) { matmul_swiglu_wgmma(args); }
