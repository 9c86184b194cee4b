// What the matmul kernels for the tensor cores have in common: how operands get into shared memory, the products of mma.sync, and how
// results leave the registers.
#pragma once

#include "../cuda/tile.h"
#include "tile_place.h"

namespace slayer::cuda {

constexpr int kMmaRows = 128;
constexpr int kMmaSteps = 64;
constexpr int kMmaStages = 3;
constexpr int kMmaThreads = 256;

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

// The sums of a warp, rows warp_row + 0 … 63 and columns warp_column + 0 … Columns / 4 − 1 of the block's tile of 128 × Columns, over k
// steps. A block is 8 warps in two rows of four. `a` and `b` copy their tiles of kMmaSteps steps into shared memory.
template <int Columns>
struct WarpTile {
  static constexpr int kColumns = Columns / 4;
  int row = static_cast<int>(warp_index()) / 4 * 64;
  int column = static_cast<int>(warp_index()) % 4 * kColumns;
  float sums[4][kColumns / 8][4] = {};

  // The products of one stage.
  template <bool TransposeA, bool TransposeB>
  __device__ __forceinline__ void add(const Shared<bf16>& tile_a, const Shared<bf16>& tile_b) {
#pragma unroll
    for (int k = 0; k < kMmaSteps; k += 16) {
      uint32_t fragments_a[4][4], fragments_b[kColumns / 16][4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if constexpr (TransposeA) Tile<kMmaRows>{tile_a}.a_transposed(fragments_a[i], k, row + 16 * i);
        else Tile<kMmaSteps>{tile_a}.a(fragments_a[i], row + 16 * i, k);
      }
#pragma unroll
      for (int j = 0; j < kColumns / 16; j++) {
        if constexpr (TransposeB) Tile<kMmaSteps>{tile_b}.b(fragments_b[j], column + 16 * j, k);
        else Tile<Columns>{tile_b}.b_transposed(fragments_b[j], k, column + 16 * j);
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < kColumns / 8; j++) {
          multiply_accumulate(sums[i][j], fragments_a[i], fragments_b[j / 2][j % 2 * 2], fragments_b[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
  }

  template <bool TransposeA, bool TransposeB, class A, class B>
  __device__ __forceinline__ void multiply(const A& a, const B& b, int inner) {
    constexpr int kStageBytes = (kMmaRows + Columns) * kMmaSteps * 2;
    const int steps = (inner + kMmaSteps - 1) / kMmaSteps;
    const auto stage = [](int step) { return shared<bf16>(step % kMmaStages * kStageBytes); };
    const auto begin = [&](int step) {
      if (step < steps) {
        a.copy(stage(step), step * kMmaSteps);
        b.copy(stage(step) + kMmaRows * kMmaSteps, step * kMmaSteps);
      }
      commit_copies();
    };
    for (int step = 0; step < kMmaStages - 1; step++) begin(step);
    for (int step = 0; step < steps; step++) {
      wait_copies<kMmaStages - 2>();
      __syncthreads();
      begin(step + kMmaStages - 1);
      const Shared<bf16> tile_a = stage(step);
      const Shared<bf16> tile_b = tile_a + kMmaRows * kMmaSteps;
      add<TransposeA, TransposeB>(tile_a, tile_b);
    }
  }
};

// C at (row, column) and the next column = a pair, and the addend there, as far as C reaches.
template <class C>
__device__ __forceinline__ void store_pair(const Gemm& args, int row, int column, float first, float second) {
  if (row >= args.m || column >= args.n) return;
  const int64_t at = static_cast<int64_t>(row) * args.n + column;
  C* const c = static_cast<C*>(args.c) + at;
  const C* const addend = args.addend == nullptr ? nullptr : static_cast<const C*>(args.addend) + at;
  float pair[2] = {first, second};
  if (args.n % 2 == 0) {
    if (addend != nullptr) {
      const Pack<C, 2> old = load_pack<C, 2>(addend);
      pair[0] += to_float(old.v[0]);
      pair[1] += to_float(old.v[1]);
    }
    store_pack<C, 2>(c, {from_float<C>(pair[0]), from_float<C>(pair[1])});
    return;
  }
  for (int e = 0; e < 2 && column + e < args.n; e++) c[e] = from_float<C>(addend != nullptr ? to_float(addend[e]) + pair[e] : pair[e]);
}

// The warp's results to C, the tile's first element at (first_row, first_column).
template <class C, int Columns>
__device__ __forceinline__ void store_tile(const Gemm& args, const WarpTile<Columns>& warp, int first_row, int first_column) {
  const int lane = static_cast<int>(lane_index());
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < warp.kColumns / 8; j++) {
      const int row = first_row + warp.row + 16 * i + lane / 4;
      const int column = first_column + warp.column + 8 * j + lane % 4 * 2;
      store_pair<C>(args, row, column, warp.sums[i][j][0], warp.sums[i][j][1]);
      store_pair<C>(args, row + 8, column, warp.sums[i][j][2], warp.sums[i][j][3]);
    }
  }
}

}  // namespace slayer::cuda
