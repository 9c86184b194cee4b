// What the products on Hopper's tensor cores have in common: the pipeline of a cluster of two blocks that makes tiles of 256 × 256, and how
// rows of 8 leave the registers.
#pragma once

#include "../cuda/hopper.h"
#include "mma_tiles.h"

namespace slayer::cuda {

constexpr int kPairRows = 256;     // of a tile, half of them a block's
constexpr int kPairColumns = 256;  // of op(B) in a tile, half of them brought by each block
constexpr int kPairStages = 4;
constexpr int kBox = 64 * 64;  // elements
constexpr int kPairStageBytes = (kPairRows / 2 + kPairColumns) * kMmaSteps * 2;
constexpr int kPairThreads = 3 * 128;
constexpr unsigned kProductWarps = 8;

// The box of an operand with its rows row … row + 63 and steps k … k + 63, stored [rows, steps] or Transposed.
template <bool Transposed>
__device__ __forceinline__ void copy_operand(Shared<bf16> to, const TensorMap& map, Barrier barrier, int row, int k) {
  if constexpr (Transposed) copy_box(to, map, barrier, row, k);
  else copy_box(to, map, barrier, k, row);
}
template <bool Transposed>
__device__ __forceinline__ void copy_operand_to_both(Shared<bf16> to, const TensorMap& map, Barrier barrier, int row, int k) {
  if constexpr (Transposed) copy_box_to_both(to, map, barrier, row, k);
  else copy_box_to_both(to, map, barrier, k, row);
}

// What block `rank` brings of a stage: its half of A's rows from `row` on, and for both blocks half of B's columns, those from `column` on.
template <bool TransposedA, bool TransposedB>
__device__ __forceinline__ void copy_stage(Shared<bf16> to, Barrier barrier, int rank, const TensorMap& a, int row, const TensorMap& b, int column,
                                           int k) {
#pragma unroll
  for (int i = 0; i < 2; i++) copy_operand<TransposedA>(to + i * kBox, a, barrier, row + 128 * rank + 64 * i, k);
#pragma unroll
  for (int i = 0; i < 2; i++) copy_operand_to_both<TransposedB>(to + (2 + 2 * rank + i) * kBox, b, barrier, column + 64 * i, k);
}

__device__ __forceinline__ Barrier full_barrier(int stage) { return shared<uint64_t>(kPairStages * kPairStageBytes) + stage; }
__device__ __forceinline__ Barrier empty_barrier(int stage) { return full_barrier(kPairStages + stage); }

// All tiles of a product [m, n] over k steps, a tile having `columns` of its columns, shared out over the grid's clusters.
//
//   load(to, barrier, place, k)   one thread of each block: its boxes of one stage, in all kPairStageBytes a block
//   ahead(place, step, steps)     the same thread, after each: what the store of this tile will read may be asked for
//   store(sums, row, column)      each warpgroup: its sums, rows row … row + 63
template <bool TransposeA, bool TransposeB, class Load, class Ahead, class Store>
__device__ __forceinline__ void for_pair_tiles(int m, int n, int k, int columns, Load load, Ahead ahead, Store store) {
  const int rank = static_cast<int>(cluster_rank());
  const int clusters = static_cast<int>(gridDim.x) / 2;
  const int tiles = (m + kPairRows - 1) / kPairRows * ((n + columns - 1) / columns);
  const int steps = (k + kMmaSteps - 1) / kMmaSteps;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kPairStages; stage++) {
      make_barrier(full_barrier(stage), 1);
      make_barrier(empty_barrier(stage), 2 * kProductWarps);
    }
    fence_barriers();
  }
  cluster_barrier();

  int stage = 0;
  unsigned parity = 0;
  const auto next = [&] {
    stage = stage == kPairStages - 1 ? 0 : stage + 1;
    if (stage == 0) parity ^= 1;
  };
  const auto tile_at = [](int at) { return shared<bf16>(at * kPairStageBytes); };
  // The same in all lanes, and the compiler is to know it: what products are told must lie in the warp's registers.
  const int group = static_cast<int>(shuffle(warp_index(), 0)) / 4;
  if (group == 2) {
    shrink_registers<40>();
    if (threadIdx.x == kPairThreads - 128) {
      for (int tile = static_cast<int>(blockIdx.x) / 2; tile < tiles; tile += clusters) {
        const TilePlace place = tile_place(m, n, kPairRows, columns, tile);
        for (int step = 0; step < steps; step++) {
          wait_at(empty_barrier(stage), parity ^ 1);
          arrive_expecting(full_barrier(stage), kPairStageBytes);
          load(tile_at(stage), full_barrier(stage), place, step * kMmaSteps);
          ahead(place, step, steps);
          next();
        }
      }
    }
  } else {
    grow_registers<232>();
    const auto release = [](int done) {
      if (lane_index() < 2) arrive_at(empty_barrier(done), lane_index());
    };
    for (int tile = static_cast<int>(blockIdx.x) / 2; tile < tiles; tile += clusters) {
      GroupSums<kPairColumns> sums;
      int before = 0;
      for (int step = 0; step < steps; step++) {
        wait_at(full_barrier(stage), parity);
        begin_products();
        const Shared<bf16> a = tile_at(stage) + group * kBox;
        const Shared<bf16> b = tile_at(stage) + 2 * kBox;
#pragma unroll
        for (int at = 0; at < kMmaSteps; at += 16) {
          multiply_tiles<kPairColumns, TransposeA, TransposeB>(sums, a, 2 * kBox, b, 2 * kBox, at, step > 0 || at > 0);
        }
        commit_products();
        // The products before these are done: nobody reads their stage.
        wait_products<1>();
        if (step > 0) release(before);
        before = stage;
        next();
      }
      wait_products<0>();
      release(before);
      settle(sums);
      const TilePlace place = tile_place(m, n, kPairRows, columns, tile);
      store(sums, place.row + 128 * rank + 64 * group, place.column);
    }
  }
  // Nobody leaves while the other block may still write here.
  __syncwarp();
  cluster_barrier();
}

// transpose_quad of a copy.
__device__ __forceinline__ Pack<uint32_t, 4> quad_transposed(Pack<uint32_t, 4> x) {
  transpose_quad(x.v);
  return x;
}

// Four fragments of sums, from column `column` on, and a matrix [m, n] of bf16 whose n is a multiple of 8: each lane moves 8 elements of its
// row. With Whole all of them are known to be inside.
template <bool Whole>
struct QuadRows {
  int m, n;
  int row, column;

  __device__ __forceinline__ int own_column() const { return column + 8 * static_cast<int>(lane_index() % 4); }
  __device__ __forceinline__ bool inside() const { return Whole || (row < m && own_column() < n); }
  __device__ __forceinline__ int64_t at() const { return static_cast<int64_t>(row) * n + own_column(); }

  // pairs[i]: elements 2(lane%4) and the next of fragment i.
  __device__ __forceinline__ void store(void* to, Pack<uint32_t, 4> pairs) const {
    const Pack<uint32_t, 4> eight = quad_transposed(pairs);
    if (inside()) store_pack<uint32_t, 4>(reinterpret_cast<uint32_t*>(static_cast<bf16*>(to) + at()), eight);
  }
  // What quad_transposed makes pairs of.
  __device__ __forceinline__ Pack<uint32_t, 4> load(const void* from) const {
    if (!inside()) return {};
    return load_pack<uint32_t, 4>(reinterpret_cast<const uint32_t*>(static_cast<const bf16*>(from) + at()));
  }
};

}  // namespace slayer::cuda
