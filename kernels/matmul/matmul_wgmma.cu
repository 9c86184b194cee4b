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

// The warpgroup's 64 × 256 sums to C, and the addend there, 8 elements of a row at a time; bf16, n a multiple of 8. All that is read
// for a row is on its way before the first of it is used.
template <bool Whole, bool Added>
__device__ __forceinline__ void store_eights(const Gemm& args, const GroupSums<kPairColumns>& sums, int row, int column) {
  constexpr int kQuads = kPairColumns / 32;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const auto rows = [&](int quad) { return QuadRows<Whole>{args.m, args.n, row + 8 * half, column + 32 * quad}; };
    Pack<uint32_t, 4> addend[kQuads];
    if constexpr (Added) {
#pragma unroll
      for (int quad = 0; quad < kQuads; quad++) addend[quad] = rows(quad).load(args.addend);
    }
#pragma unroll
    for (int quad = 0; quad < kQuads; quad++) {
      Pack<uint32_t, 4> old, pairs;
      if constexpr (Added) old = quad_transposed(addend[quad]);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* const pair = sums + 4 * (4 * quad + i) + 2 * half;
        if constexpr (Added) pairs.v[i] = pack_bf16(low_half(old.v[i]) + pair[0], high_half(old.v[i]) + pair[1]);
        else pairs.v[i] = pack_bf16(pair[0], pair[1]);
      }
      rows(quad).store(args.c, pairs);
    }
  }
}

// The same for C in f32, two elements at a time, of which all are inside; n even.
template <bool Added>
__device__ __forceinline__ void store_floats(const Gemm& args, const GroupSums<kPairColumns>& sums, int row, int column) {
  constexpr int kAtOnce = 8;
  const int64_t at = static_cast<int64_t>(row) * args.n + column + static_cast<int>(lane_index()) % 4 * 2;
#pragma unroll
  for (int j = 0; j < kPairColumns / 8; j += kAtOnce) {
    Pack<float, 2> addend[kAtOnce][2];
    if constexpr (Added) {
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          addend[i][half] = load_pack<float, 2>(static_cast<const float*>(args.addend) + at + 8 * (j + i) + 8 * half * static_cast<int64_t>(args.n));
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float* const pair = sums + 4 * (j + i) + 2 * half;
        const Pack<float, 2> old = Added ? addend[i][half] : Pack<float, 2>{};
        store_pack<float, 2>(static_cast<float*>(args.c) + at + 8 * (j + i) + 8 * half * static_cast<int64_t>(args.n),
                             Added ? Pack<float, 2>{old.v[0] + pair[0], old.v[1] + pair[1]} : Pack<float, 2>{pair[0], pair[1]});
      }
    }
  }
}

template <class C>
__device__ __forceinline__ void store_sums(const Gemm& args, const GroupSums<kPairColumns>& sums, int row, int column) {
  const bool whole = row + 64 <= args.m && column + kPairColumns <= args.n;
  const bool added = args.addend != nullptr;
  row += static_cast<int>(warp_index()) % 4 * 16 + static_cast<int>(lane_index()) / 4;
  if constexpr (sizeof(C) == 2) {
    if (args.n % 8 == 0) {
      if (!whole) added ? store_eights<false, true>(args, sums, row, column) : store_eights<false, false>(args, sums, row, column);
      else added ? store_eights<true, true>(args, sums, row, column) : store_eights<true, false>(args, sums, row, column);
      return;
    }
  } else if (whole && args.n % 2 == 0) {
    added ? store_floats<true>(args, sums, row, column) : store_floats<false>(args, sums, row, column);
    return;
  }
#pragma unroll
  for (int j = 0; j < kPairColumns / 8; j++) {
    const int at = column + 8 * j + static_cast<int>(lane_index()) % 4 * 2;
    store_pair<C>(args, row, at, sums[4 * j], sums[4 * j + 1]);
    store_pair<C>(args, row + 8, at, sums[4 * j + 2], sums[4 * j + 3]);
  }
}

constexpr int kAheadSteps = 64;

template <bool TransposeA, bool TransposeB, class C>
__device__ __forceinline__ void matmul_wgmma(const GroupGemm& args) {
  const int rank = static_cast<int>(cluster_rank());
  const auto load = [&](Shared<bf16> to, Barrier barrier, TilePlace place, int k) {
    copy_stage<TransposeA, !TransposeB>(to, barrier, rank, args.a, place.row, args.b, place.column + 128 * rank, k);
  };
  // The addend's rows come from memory while the tile is multiplied, some with each of the last steps: what comes earlier, the operands of
  // many steps push out of L2 again.
  const Gemm& gemm = args.gemm;
  const auto ahead = [&](TilePlace at, int step, int steps) {
    if (gemm.addend == nullptr || at.column + kPairColumns > gemm.n || gemm.n * static_cast<int>(sizeof(C)) % 16 != 0) return;
    const int last = min(steps, kAheadSteps);
    const int turn = step - (steps - last);
    if (turn < 0) return;
    const int each = (kPairRows / 2 + last - 1) / last;
    for (int i = turn * each; i < min((turn + 1) * each, kPairRows / 2); i++) {
      const int row = at.row + kPairRows / 2 * rank + i;
      if (row < gemm.m) fetch_to_l2(static_cast<const C*>(gemm.addend) + static_cast<int64_t>(row) * gemm.n + at.column, kPairColumns * sizeof(C));
    }
  };
  const auto store = [&](const GroupSums<kPairColumns>& sums, int row, int column) { store_sums<C>(gemm, sums, row, column); };
  for_pair_tiles<TransposeA, !TransposeB>(gemm.m, gemm.n, gemm.k, kPairColumns, load, ahead, store);
}

__device__ __forceinline__ float silu(float g) { return g * reciprocal(1 + power_of_two(g * -kLog2e)); }

// Of B's 256 columns the first half are gate's, the second up's: a thread has both of an element.
template <bool Whole>
__device__ __forceinline__ void store_swiglu(const SwigluProducts& args, const GroupSums<kPairColumns>& sums, int row, int column) {
  constexpr int kUp = kPairColumns / 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int j = 0; j < kPairColumns / 16; j += 4) {
      const QuadRows<Whole> rows{args.m, args.n, row + 8 * half, column + 8 * j};
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
    copy_stage<false, false>(to, barrier, rank, args.x, place.row, rank == 0 ? args.gate : args.up, place.column, k);
  };
  const SwigluProducts& products = args.products;
  const auto store = [&](const GroupSums<kPairColumns>& sums, int row, int column) {
    const bool whole = row + 64 <= products.m && column + kPairColumns / 2 <= products.n;
    row += static_cast<int>(warp_index()) % 4 * 16 + static_cast<int>(lane_index()) / 4;
    if (whole) store_swiglu<true>(products, sums, row, column);
    else store_swiglu<false>(products, sums, row, column);
  };
  const auto nothing = [](TilePlace, int, int) {};
  for_pair_tiles<false, false>(products.m, products.n, products.k, kPairColumns / 2, load, nothing, store);
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
