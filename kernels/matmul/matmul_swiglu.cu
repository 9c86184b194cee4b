// y [m, n] = silu(g)∘u with g = x·Wgᵀ and u = x·Wuᵀ (x [m, k], Wg and Wu [n, k]), on the tensor cores; all bf16, sums in f32. y is made of the
// sums; g and u, which the backward pass reads, are stored as well on request.
//
// As matmul_mma.cu's layout nt, on a tile of 128 rows of x and 64 rows of each weight (wide: 128), by turns 8 of one and 8 of the other: the
// two fragments of sums that a thread combines are neighbours. Needs n and k to be multiples of 8, and 16-byte alignment.
#include "mma_tiles.h"

namespace slayer::cuda {

// A tile of Rows rows, half of each weight.
template <int Rows>
struct PairedWeights {
  const bf16* gate;
  const bf16* up;
  int rows, steps;
  int first;  // of the rows of each

  __device__ __forceinline__ void copy(Shared<bf16> to, int from) const {
    constexpr int kChunks = kMmaSteps / 8;
    const Tile<kMmaSteps> tile{to};
#pragma unroll
    for (int i = 0; i < Rows * kChunks / kMmaThreads; i++) {
      const int index = static_cast<int>(threadIdx.x) + i * kMmaThreads;
      const int row = index / kChunks;
      const int c = index % kChunks;
      const int source = first + row / 16 * 8 + row % 8;
      const bool inside = source < rows && from + c * 8 < steps;
      const bf16* const weight = row % 16 < 8 ? gate : up;
      copy_async(tile.chunk(row, c), weight + (inside ? static_cast<int64_t>(source) * steps + from + c * 8 : 0), inside);
    }
  }
};

__device__ __forceinline__ void put_pair(void* to, int64_t at, float first, float second) {
  if (to != nullptr) store_pack<bf16, 2>(static_cast<bf16*>(to) + at, {from_float<bf16>(first), from_float<bf16>(second)});
}

__device__ __forceinline__ float silu(float g) { return g / (1.0f + expf(-g)); }

template <int Columns>
__device__ __forceinline__ void matmul_swiglu(const SwigluProducts& args) {
  const auto [first_row, first_column] = tile_place(args.m, args.n, kMmaRows, Columns / 2, static_cast<int>(blockIdx.x));
  const MmaOperand<kMmaRows, false> x{static_cast<const bf16*>(args.x), args.m, args.k, first_row};
  const PairedWeights<Columns> w{static_cast<const bf16*>(args.gate), static_cast<const bf16*>(args.up), args.n, args.k, first_column};
  WarpTile<Columns> warp;
  warp.template multiply<false, true>(x, w, args.k);

  const int lane = static_cast<int>(lane_index());
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < warp.kColumns / 8; j += 2) {
      const int column = first_column + (warp.column + 8 * j) / 2 + lane % 4 * 2;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = first_row + warp.row + 16 * i + lane / 4 + 8 * half;
        if (row >= args.m || column >= args.n) continue;
        const int64_t at = static_cast<int64_t>(row) * args.n + column;
        const float* const g = warp.sums[i][j] + 2 * half;
        const float* const u = warp.sums[i][j + 1] + 2 * half;
        put_pair(args.g, at, g[0], g[1]);
        put_pair(args.u, at, u[0], u[1]);
        put_pair(args.y, at, silu(g[0]) * u[0], silu(g[1]) * u[1]);
      }
    }
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(matmul_swiglu_bf16, SwigluProducts, 256) { matmul_swiglu<128>(args); }
SLAYER_KERNEL(matmul_swiglu_wide_bf16, SwigluProducts, 256) { matmul_swiglu<256>(args); }
