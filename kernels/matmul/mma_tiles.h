// What the matmul kernels for the tensor cores have in common: which tile a block makes, how operands get into shared memory, and how
// results leave the registers.
#pragma once

#include "../cuda/tile.h"

namespace slayer::cuda {

constexpr int kMmaRows = 128;
constexpr int kMmaSteps = 64;
constexpr int kMmaStages = 3;
constexpr int kMmaThreads = 256;
constexpr int kMmaBand = 8;

// One operand of op(X) [rows, steps]: stored [rows, steps], or [steps, rows] if Transposed. A tile has Rows of its rows.
template <int Rows, bool Transposed>
struct MmaOperand {
  const bf16* data;
  int rows, steps;
  int first;  // of the tile's rows

  __device__ __forceinline__ void copy(Shared<bf16> to, int from) const {
    if constexpr (Transposed) {
      const Tile<Rows> tile{to};
      tile.template copy<kMmaSteps, kMmaThreads>(data + static_cast<int64_t>(from) * rows + first, rows, steps - from, rows - first);
    } else {
      const Tile<kMmaSteps> tile{to};
      tile.template copy<Rows, kMmaThreads>(data + static_cast<int64_t>(first) * steps + from, steps, rows - first, steps - from);
    }
  }
};

// Where a block's tile begins. Tiles are taken in bands of kMmaBand rows of tiles.
struct TilePlace {
  int row, column;
};
__device__ __forceinline__ TilePlace tile_place(const Gemm& args, int rows, int columns) {
  const int tiles_m = (args.m + rows - 1) / rows;
  const int tiles_n = (args.n + columns - 1) / columns;
  const int tile = static_cast<int>(blockIdx.x);
  const int band = tile / (kMmaBand * tiles_n) * kMmaBand;
  const int height = tiles_m - band < kMmaBand ? tiles_m - band : kMmaBand;
  const int in_band = tile - band * tiles_n;
  return {(band + in_band % height) * rows, in_band / height * columns};
}

// C at (row, column) and the next column = or += a pair, as far as C reaches.
template <class C>
__device__ __forceinline__ void store_pair(const Gemm& args, int row, int column, float first, float second) {
  if (row >= args.m || column >= args.n) return;
  C* const at = static_cast<C*>(args.c) + static_cast<int64_t>(row) * args.n + column;
  float pair[2] = {first, second};
  if (args.n % 2 == 0) {
    if (args.accumulate) {
      const Pack<C, 2> old = load_pack<C, 2>(at);
      pair[0] += to_float(old.v[0]);
      pair[1] += to_float(old.v[1]);
    }
    store_pack<C, 2>(at, {from_float<C>(pair[0]), from_float<C>(pair[1])});
    return;
  }
  for (int e = 0; e < 2 && column + e < args.n; e++) at[e] = from_float<C>(args.accumulate ? to_float(at[e]) + pair[e] : pair[e]);
}

}  // namespace slayer::cuda
