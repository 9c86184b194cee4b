// The innermost loop of matrix multiplication: a tile of C held in registers.
//
//   C[R, V·L] (+)= A[R, k] · B[k, V·L]        L = kLanes floats per vector
//
// B is packed as [k][V·L] and A as [k][R] (pack.h), so both are read once, in order; or A is read in place, from rows a_row floats
// apart. One step of k is R·V multiply-adds on V loads of B and R broadcasts of A; R·V accumulators hide the latency of the
// multiply-adds. Every element of C is the sum over
// k in ascending order, whatever the tile it falls in: its value does not depend on how C is cut.
#pragma once

#include "../cpu/isa.h"

namespace slayer::SLAYER_ISA {

// The largest tile: all registers but those for V vectors of B and one or two broadcasts of A.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
constexpr int kTileVectors = 2;
#elif defined(__AVX__)
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;
#elif defined(__ARM_NEON)
constexpr int kTileRows = 8;
constexpr int kTileVectors = 3;
#else
constexpr int kTileRows = 4;
constexpr int kTileVectors = 2;
#endif
constexpr int kTileColumns = kTileVectors * kLanes;

// Whether a tile may read A in place: its rows contiguous, and not so far apart that all lie in one set of L1 (4 KiB, or nearly).
inline bool in_place(int64_t a_row, int64_t a_col) { return a_col == 1 && (a_row + 16) % 1024 >= 32; }

// One tile; of the last vector's columns only `last` (1 … kLanes) exist in C. Rows of C are c_row floats apart. `ahead` is
// what will be read soon: k floats of it are fetched on the way (a hint, which may point anywhere).
template <int R, int V, bool InPlace>
void tile(int64_t k, const float* a, int64_t a_row, const float* b, float* c, int64_t c_row, int64_t last, bool accumulate,
          const float* ahead) {
#pragma GCC unroll 16
  for (int i = 0; i < R; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) __builtin_prefetch(c + i * c_row + v * kLanes, 1, 3);
  }
  Vec sum[R][V] = {};
  // Every third row; the others are one and two rows further on, which is an addressing mode.
  const float* thirds[(R + 2) / 3];
  if constexpr (InPlace) {
    for (int i = 0; i < R; i += 3) thirds[i / 3] = a + i * a_row;
  }
  for (int64_t p = 0; p < k; p++, a += InPlace ? 1 : R, b += V * kLanes) {
    if constexpr (!InPlace) __builtin_prefetch(ahead + p, 0, 2);
    Vec row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
      const Vec x = splat(InPlace ? thirds[i / 3][i % 3 * a_row + p] : a[i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sum[i][v] = fma(x, row[v], sum[i][v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      float* to = c + i * c_row + v * kLanes;
      if (v < V - 1 || last == kLanes) {
        store(to, accumulate ? load(to) + sum[i][v] : sum[i][v]);
      } else {
        store_part(to, accumulate ? load_part(to, last) + sum[i][v] : sum[i][v], last);
      }
    }
  }
}

using TileFunction = void (*)(int64_t, const float*, int64_t, const float*, float*, int64_t, int64_t, bool, const float*);

// kTiles.at[InPlace][V − 1][R − 1] = tile<R, V, InPlace>: the edges of C get a smaller tile, not a padded one.
struct TileTable {
  TileFunction at[2][kTileVectors][kTileRows];
};

template <int R, int V>
constexpr void fill_tiles(TileTable& table) {
  table.at[0][V - 1][R - 1] = tile<R, V, false>;
  table.at[1][V - 1][R - 1] = tile<R, V, true>;
  if constexpr (R > 1) fill_tiles<R - 1, V>(table);
  if constexpr (R == kTileRows && V > 1) fill_tiles<kTileRows, V - 1>(table);
}

constexpr TileTable make_tiles() {
  TileTable table{};
  fill_tiles<kTileRows, kTileVectors>(table);
  return table;
}

constexpr TileTable kTiles = make_tiles();

}  // namespace slayer::SLAYER_ISA
