// Tiles of bf16 in shared memory, as the tensor cores take them: rows of Columns elements, in chunks of 8 (16 bytes). Chunk c of row r
// lies at place c ^ (r mod 8) of its row, so that the eight rows that ldmatrix reads at once lie on different banks.
#pragma once

#include "device.h"

namespace slayer::cuda {

template <int Columns>
struct Tile {
  static_assert(Columns % 64 == 0, "the swizzle takes eight chunks at a time");
  Shared<bf16> start;

  __device__ __forceinline__ Shared<bf16> chunk(int row, int c) const { return start + (row * Columns + (c ^ (row & 7)) * 8); }

  // Begins to copy `Rows` rows from `from` (row r at from + r·stride), all threads of a block of Threads taking part. Rows from
  // `rows` on and columns from `columns` (a multiple of 8) on become zeros.
  template <int Rows, int Threads>
  __device__ __forceinline__ void copy(const bf16* from, int64_t stride, int rows, int columns) const {
    constexpr int kChunks = Columns / 8;
    static_assert(Rows * kChunks % Threads == 0, "each thread copies as many chunks");
#pragma unroll
    for (int i = 0; i < Rows * kChunks / Threads; i++) {
      const int index = static_cast<int>(threadIdx.x) + i * Threads;
      const int row = index / kChunks;
      const int c = index % kChunks;
      const bool inside = row < rows && c * 8 < columns;
      copy_async(chunk(row, c), from + (inside ? row * stride + c * 8 : 0), inside);
    }
  }

  // Fragments of mma.m16n8k16. Operand A, 16 (i) × 16 (k): element (i, k) is this tile's (row + i, column + k), or with
  // `transposed` its (row + k, column + i).
  __device__ __forceinline__ void a(uint32_t (&r)[4], int row, int column) const {
    const int lane = static_cast<int>(lane_index());
    load_matrices(r, chunk(row + lane % 16, column / 8 + lane / 16));
  }
  __device__ __forceinline__ void a_transposed(uint32_t (&r)[4], int row, int column) const {
    const int lane = static_cast<int>(lane_index());
    load_matrices_transposed(r, chunk(row + lane % 8 + lane / 16 * 8, column / 8 + lane / 8 % 2));
  }
  // Operand B, two of 16 (k) × 8 (j) side by side: element (k, j) is this tile's (row + j, column + k), or with `transposed` its
  // (row + k, column + j). Registers 0 and 1 belong to j = 0 … 7, 2 and 3 to j = 8 … 15.
  __device__ __forceinline__ void b(uint32_t (&r)[4], int row, int column) const {
    const int lane = static_cast<int>(lane_index());
    load_matrices(r, chunk(row + lane % 8 + lane / 16 * 8, column / 8 + lane / 8 % 2));
  }
  __device__ __forceinline__ void b_transposed(uint32_t (&r)[4], int row, int column) const {
    const int lane = static_cast<int>(lane_index());
    load_matrices_transposed(r, chunk(row + lane % 16, column / 8 + lane / 16));
  }
};

}  // namespace slayer::cuda
