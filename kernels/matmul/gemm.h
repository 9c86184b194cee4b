// Matrix multiplication on one thread, for kernels that multiply inside a task (attention, the LM head).
//
//   C[m, n] (+)= A[m, k] · B[k, n],   A[i, p] = a[i·a_row + p·a_col],   B[p, j] = b[p·b_row + j·b_col],   C[i, j] = c[i·c_row + j]
//
// Every transposition is a choice of strides. The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (2008), with the roles of A and B exchanged: a strip of A [kTileRows, kc] stays near while it meets a
// block of B [kc, nc], and the block of B, which streams from L2 or L3, meets all strips of A. All strides and extents are in
// elements; B may be stored in bf16.
#pragma once

#include "../cpu/kernel.h"
#include "pack.h"

namespace slayer::SLAYER_ISA {

constexpr int64_t kBlockK = 1024;        // most steps of k in one block
constexpr int64_t kBlockColumns = 1024;  // columns of B packed at a time
constexpr int64_t kBlockRows = 1024;     // rows of A packed at a time
constexpr int64_t kGroup = 4;            // strips of A that meet a panel of B while it is near
constexpr int64_t kGroupRows = kGroup * kTileRows;
constexpr int64_t kFewRows = 128;        // with which a block of B is not used often enough to be worth its way to L3 and back:
constexpr int64_t kFewColumns = 128;     // it is as narrow as L2 holds

// Columns of B packed at a time for m rows of A.
inline int64_t block_columns(int64_t m) { return m <= kFewRows ? kFewColumns : kBlockColumns; }

// Steps of k per block: k in equal parts of at most kBlockK. It depends on k alone, so sums are made in the same order however
// C is divided.
inline int64_t block_k(int64_t k) {
  const int64_t blocks = (k + kBlockK - 1) / kBlockK;
  return (k + blocks - 1) / blocks;
}

// n rounded up to whole vectors.
inline int64_t whole_vectors(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Packs n rows of A (or columns of B) and kc steps of k, strip by strip: the strip that begins at row i goes to to + i·kc. The
// last strip may be narrower; B's is padded to whole vectors. Where a step of k is contiguous in memory, strips take turns every
// few steps, so that a cache line is used up while it is there.
template <int Width, bool Padded, class E>
void pack_strips(int64_t n, int64_t kc, const E* from, int64_t across, int64_t along, float* to) {
  const int64_t turn = across == 1 ? 16 : kc;
  for (int64_t p = 0; p < kc; p += turn) {
    for (int64_t i = 0; i < n; i += Width) {
      const int64_t width = std::min<int64_t>(Width, n - i);
      const int64_t padded = Padded ? whole_vectors(width) : width;
      pack_panel(width, padded, std::min(turn, kc - p), from + i * across + p * along, across, along, to + i * kc + p * padded);
    }
  }
}

inline void pack_a(int64_t m, int64_t kc, const float* a, int64_t a_row, int64_t a_col, float* to) {
  pack_strips<kTileRows, false>(m, kc, a, a_row, a_col, to);
}

template <class E>
void pack_b(int64_t n, int64_t kc, const E* b, int64_t b_row, int64_t b_col, float* to) {
  pack_strips<kTileColumns, true>(n, kc, b, b_col, b_row, to);
}

// C[m, n] (+)= A[m, kc] · packed B[kc, n]. A is packed, or lies in rows a_row floats apart if that is not 0. A few strips of A, which L2
// keeps, meet a panel of B before it is the next one's turn: B passes by as rarely as that, from L3.
inline void multiply_packed(int64_t m, int64_t n, int64_t kc, const float* a, int64_t a_row, const float* b, float* c,
                            int64_t c_row, bool accumulate) {
  for (int64_t i0 = 0; i0 < m; i0 += kGroupRows) {
    const int64_t i1 = std::min(m, i0 + kGroupRows);
    for (int64_t j = 0; j < n; j += kTileColumns) {
      const int64_t columns = std::min<int64_t>(kTileColumns, n - j);
      const int64_t vectors = (columns + kLanes - 1) / kLanes;
      const float* next = b + (j + kTileColumns) * kc;  // of the next panel each strip fetches a piece
      for (int64_t i = i0; i < i1; i += kTileRows, next += kTileColumns / kGroup * kc) {
        const int64_t rows = std::min<int64_t>(kTileRows, m - i);
        kTiles.at[a_row != 0][vectors - 1][rows - 1](kc, a + i * (a_row ? a_row : kc), a_row, b + j * kc, c + i * c_row + j, c_row,
                                                     columns - (vectors - 1) * kLanes, accumulate, next);
      }
    }
  }
}

// Where gemm packs its operands: two of a thread's scratch slots, of which the caller keeps the others.
class GemmScratch {
 public:
  explicit GemmScratch(Pool& pool, int thread, int slot_a = 2, int slot_b = 3)
      : pool_(pool), thread_(thread), slot_a_(slot_a), slot_b_(slot_b) {}
  float* a(int64_t floats) { return take(slot_a_, floats); }
  float* b(int64_t floats) { return take(slot_b_, floats); }

 private:
  float* take(int slot, int64_t floats) {
    return static_cast<float*>(pool_.scratch(thread_, slot, static_cast<size_t>(floats) * sizeof(float)));
  }
  Pool& pool_;
  int thread_;
  int slot_a_;
  int slot_b_;
};

template <class E>
void gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_col, const E* b, int64_t b_row,
          int64_t b_col, float* c, int64_t c_row, bool accumulate, GemmScratch& scratch) {
  const int64_t step = block_k(k);
  const bool packs_a = !in_place(a_row, a_col);
  float* packed_a = packs_a ? scratch.a(std::min(m, kBlockRows) * step) : nullptr;
  const int64_t columns = block_columns(m);
  float* packed_b = scratch.b(std::min(whole_vectors(n), columns) * step);
  for (int64_t i0 = 0; i0 < m; i0 += kBlockRows) {
    const int64_t i1 = std::min(m, i0 + kBlockRows);
    for (int64_t k0 = 0; k0 < k; k0 += step) {
      const int64_t kc = std::min(step, k - k0);
      const float* from = a + i0 * a_row + k0 * a_col;
      if (packs_a) pack_a(i1 - i0, kc, from, a_row, a_col, packed_a);
      for (int64_t j0 = 0; j0 < n; j0 += columns) {
        const int64_t j1 = std::min(n, j0 + columns);
        pack_b(j1 - j0, kc, b + k0 * b_row + j0 * b_col, b_row, b_col, packed_b);
        multiply_packed(i1 - i0, j1 - j0, kc, packs_a ? packed_a : from, packs_a ? 0 : a_row, packed_b, c + i0 * c_row + j0, c_row, accumulate || k0 > 0);
      }
    }
  }
}

}  // namespace slayer::SLAYER_ISA
