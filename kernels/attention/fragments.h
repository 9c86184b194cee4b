// What the attention kernels for the tensor cores have in common: products of tiles in shared memory, a warp taking 16 rows of
// the left one, and which scores count.
#pragma once

#include "../cuda/tile.h"
#include "rows.h"

namespace slayer::cuda {

constexpr int kTileRows = 64;  // keys, or queries, that pass by at a time

// Rows of a head of E elements, E a multiple of 16, in a tile that is as wide as tiles are; nothing is read beyond E.
template <int E>
constexpr int kHeadColumns = (E + 63) / 64 * 64;
template <int E>
using HeadTile = Tile<kHeadColumns<E>>;

// A warp's share of a matrix with kTileRows columns: fragment n holds columns 8n … 8n + 7, as mma.m16n8k16 leaves them.
using Scores = float[kTileRows / 8][4];

// scores[t] = rows row + 16·t … + 15 of `left` · all rows of `right`, transposed; both [kTileRows or more, E]. What is read of
// `right` serves all t.
template <int E, int Tiles>
__device__ __forceinline__ void multiply_rows(Scores (&scores)[Tiles], const HeadTile<E>& left, int row, const HeadTile<E>& right) {
#pragma unroll
  for (int t = 0; t < Tiles; t++) {
#pragma unroll
    for (int n = 0; n < kTileRows / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) scores[t][n][i] = 0;
    }
  }
  static_assert(E % 16 == 0, "mma takes 16 elements of a head at a time");
#pragma unroll
  for (int e = 0; e < E; e += 16) {
    uint32_t a[Tiles][4];
#pragma unroll
    for (int t = 0; t < Tiles; t++) left.a(a[t], row + 16 * t, e);
#pragma unroll
    for (int n = 0; n < kTileRows / 8; n += 2) {
      uint32_t b[4];
      right.b(b, 8 * n, e);
#pragma unroll
      for (int t = 0; t < Tiles; t++) {
        multiply_accumulate(scores[t][n], a[t], b[0], b[1]);
        multiply_accumulate(scores[t][n + 1], a[t], b[2], b[3]);
      }
    }
  }
}

// sums[t] [16, E] += weights[t] [16, kTileRows], rounded to bf16, · tile [kTileRows, E]. What mma leaves as a result is laid out as it
// takes a left operand, so the weights never leave the registers.
template <int E, int Tiles>
__device__ __forceinline__ void add_product(float (&sums)[Tiles][E / 8][4], const Scores (&weights)[Tiles], const HeadTile<E>& tile) {
#pragma unroll
  for (int k = 0; k < kTileRows / 16; k++) {
    uint32_t a[Tiles][4];
#pragma unroll
    for (int t = 0; t < Tiles; t++) {
      const Scores& w = weights[t];
#pragma unroll
      for (int i = 0; i < 4; i++) a[t][i] = pack_bf16(w[2 * k + i / 2][i % 2 * 2], w[2 * k + i / 2][i % 2 * 2 + 1]);
    }
#pragma unroll
    for (int n = 0; n < E / 8; n += 2) {
      uint32_t b[4];
      tile.b_transposed(b, 16 * k, 8 * n);
#pragma unroll
      for (int t = 0; t < Tiles; t++) {
        multiply_accumulate(sums[t][n], a[t], b[0], b[1]);
        multiply_accumulate(sums[t][n + 1], a[t], b[2], b[3]);
      }
    }
  }
}

// Where element i of fragment n lies in the warp's 16 rows and kTileRows columns.
__device__ __forceinline__ int fragment_row(int i) { return static_cast<int>(lane_index()) / 4 + i / 2 * 8; }
__device__ __forceinline__ int fragment_column(int n, int i) { return 8 * n + static_cast<int>(lane_index()) % 4 * 2 + i % 2; }

// Whether the query at `position` sees key j; both may lie beyond the sequence.
__device__ __forceinline__ bool sees(const Attention& args, int b, int position, int j) {
  if (j > position || j >= args.S || (args.window > 0 && j <= position - args.window)) return false;
  return args.segments == nullptr || (position < args.S && args.segments[b * args.S + position] == args.segments[b * args.S + j]);
}

// Whether all of `queries` positions from `position` on see all of kTileRows keys from j on.
__device__ __forceinline__ bool all_seen(const Attention& args, int position, int queries, int j) {
  return args.segments == nullptr && j + kTileRows - 1 <= position && j + kTileRows <= args.S &&
         (args.window == 0 || j > position + queries - 1 - args.window);
}

// Rows [16, E] of sums times `scale`, row r of the warp to row first + r of head h, as far as there are `rows`.
template <int E>
__device__ __forceinline__ void store_rows(const float (&sums)[E / 8][4], const float (&scale)[2], void* data, int b, int rows, int first,
                                           int heads, int h) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + fragment_row(2 * half);
    if (row >= rows) continue;
    bf16* const to = static_cast<bf16*>(data) + ((static_cast<int64_t>(b) * rows + row) * heads + h) * E;
#pragma unroll
    for (int n = 0; n < E / 8; n++) {
      const Pack<bf16, 2> pair = {from_float<bf16>(sums[n][2 * half] * scale[half]),
                                  from_float<bf16>(sums[n][2 * half + 1] * scale[half])};
      store_pack<bf16, 2>(to + fragment_column(n, 0), pair);
    }
  }
}

}  // namespace slayer::cuda
