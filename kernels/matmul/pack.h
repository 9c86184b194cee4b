// Copying a matrix into the order in which the register tile reads it.
//
// A panel is a strip of `width` rows of A, or `width` columns of B, over k:
//
//   to[p][i] = from[i·across + p·along]     0 ≤ p < k, 0 ≤ i < width;  zero for width ≤ i < padded
//
// A's strips are kTileRows wide and not padded, B's kTileColumns, padded to whole vectors; the last strip may be narrower.
// Strides are in elements; one of them is 1 in all cases that matter, which makes packing a copy or a transposition. Matrices
// stored in bf16 are widened on the way.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "tile.h"

namespace slayer::SLAYER_ISA {

template <size_t... I>
SLAYER_INLINE Vec interleave(Vec a, Vec b, int half, std::index_sequence<I...>) {
  // The halves' elements alternating: a0 b0 a1 b1 …
  return half == 0 ? __builtin_shufflevector(a, b, (I / 2 + (I % 2) * kLanes)...)
                   : __builtin_shufflevector(a, b, (I / 2 + kLanes / 2 + (I % 2) * kLanes)...);
}

// Transposes L vectors of L lanes: interleaving row i with row i + L/2 is one step of a perfect shuffle; after log₂ L of them
// the rows have become columns.
SLAYER_INLINE void transpose(Vec (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    Vec next[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; i++) {
      next[2 * i] = interleave(rows[i], rows[i + kLanes / 2], 0, std::make_index_sequence<kLanes>());
      next[2 * i + 1] = interleave(rows[i], rows[i + kLanes / 2], 1, std::make_index_sequence<kLanes>());
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) rows[i] = next[i];
  }
}

// across == 1, the panel full: k pieces of W contiguous floats.
template <int W, class E>
void pack_copy(int64_t k, const E* from, int64_t along, float* to) {
  if constexpr (std::is_same_v<E, float>) {
    for (int64_t p = 0; p < k; p++) std::memcpy(to + p * W, from + p * along, W * sizeof(float));
  } else if constexpr (W % kLanes == 0) {
    for (int64_t p = 0; p < k; p++) {
#pragma GCC unroll 4
      for (int i = 0; i < W; i += kLanes) store(to + p * W + i, load(from + p * along + i));
    }
  } else {
    for (int64_t p = 0; p < k; p++) {
      for (int i = 0; i < W; i++) to[p * W + i] = widen(from[p * along + i]);
    }
  }
}

// along == 1: blocks of L × L, transposed in registers.
template <class E>
void pack_transpose(int64_t width, int64_t padded, int64_t k, const E* from, int64_t across, float* to) {
  for (int64_t i0 = 0; i0 < padded; i0 += kLanes) {
    const int64_t lanes = std::min<int64_t>(kLanes, padded - i0);
    for (int64_t p0 = 0; p0 < k; p0 += kLanes) {
      const int64_t steps = std::min<int64_t>(kLanes, k - p0);
      Vec block[kLanes];
      if (steps == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) block[i] = i0 + i < width ? load(from + (i0 + i) * across + p0) : Vec{};
      } else {
        for (int i = 0; i < kLanes; i++) {
          block[i] = i0 + i < width ? load_part(from + (i0 + i) * across + p0, steps) : Vec{};
        }
      }
      transpose(block);
      float* out = to + p0 * padded + i0;
      // A strip narrower than a vector is written with whole vectors all the same, each overwriting the surplus of the one
      // before, as long as they stay inside the panel.
      const bool whole = lanes == kLanes || (padded < kLanes && (p0 + steps - 1) * padded + kLanes <= k * padded);
      if (whole && steps == kLanes) {
#pragma GCC unroll 16
        for (int q = 0; q < kLanes; q++) store(out + q * padded, block[q]);
      } else {
        for (int q = 0; q < steps; q++) store_part(out + q * padded, block[q], lanes);
      }
    }
  }
}

template <class E>
void pack_panel(int64_t width, int64_t padded, int64_t k, const E* from, int64_t across, int64_t along, float* to) {
  if (across == 1 && width == kTileColumns) {
    pack_copy<kTileColumns>(k, from, along, to);
  } else if (across == 1 && width == kTileRows && padded == kTileRows) {
    pack_copy<kTileRows>(k, from, along, to);
  } else if (along == 1) {
    pack_transpose(width, padded, k, from, across, to);
  } else {
    for (int64_t p = 0; p < k; p++) {
      for (int64_t i = 0; i < width; i++) to[p * padded + i] = widen(from[i * across + p * along]);
      for (int64_t i = width; i < padded; i++) to[p * padded + i] = 0;
    }
  }
}

}  // namespace slayer::SLAYER_ISA
