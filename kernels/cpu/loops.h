// Loops that several kernels share: a range in vectors, sums over a range, sums over the rows of a matrix.
#pragma once

#include <algorithm>

#include "isa.h"
#include "kernel.h"

namespace slayer::SLAYER_ISA {

// Elements that are worth handing to another thread: some 10 µs of reading and writing memory.
constexpr int64_t kElementGrain = 16384;

// The rows of a matrix [.., columns] that hold as many.
SLAYER_INLINE int64_t row_grain(int64_t columns) { return std::max<int64_t>(1, kElementGrain / columns); }

// How a vector meets memory, of floats or Bf16: whole, or its first n lanes at the end of a range (the others are 0).
struct Whole {
  template <class E>
  SLAYER_INLINE Vec load(const E* p) const { return SLAYER_ISA::load(p); }
  template <class E>
  SLAYER_INLINE void store(E* p, Vec v) const { SLAYER_ISA::store(p, v); }
};
struct Part {
  int64_t n;
  template <class E>
  SLAYER_INLINE Vec load(const E* p) const { return load_part(p, n); }
  template <class E>
  SLAYER_INLINE void store(E* p, Vec v) const { store_part(p, v, n); }
};

// f(i, access) for begin, begin + kLanes, … < end, where access loads and stores what belongs to the range.
template <class F>
SLAYER_INLINE void in_vectors(int64_t begin, int64_t end, F f) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) f(i, Whole{});
  if (i < end) f(i, Part{end - i});
}

// Σ f(i, access) over the lanes of a range of at most a few thousand elements; f gives 0 for lanes beyond the range if it gives
// 0 for zeros. Four sums side by side hide the latency of the addition.
template <class F>
SLAYER_INLINE float sum_in_vectors(int64_t begin, int64_t end, F f) {
  Vec sums[4] = {};
  int64_t i = begin;
  for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
    for (int k = 0; k < 4; k++) sums[k] += f(i + k * kLanes, Whole{});
  }
  in_vectors(i, end, [&](int64_t j, auto access) { sums[0] += f(j, access); });
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Σ f(i, access) over 0 … n−1 for any n: blocks of 4096 in f32, their sums in f64, in order.
template <class F>
double sum_in_blocks(Pool& pool, int64_t n, F f) {
  constexpr int64_t block = 4096;
  const int64_t blocks = (n + block - 1) / block;
  auto* const partial = static_cast<double*>(pool.scratch(0, 0, static_cast<size_t>(blocks) * sizeof(double)));
  parallel_ranges(pool, blocks, kElementGrain / block, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) {
      partial[b] = sum_in_vectors(b * block, std::min(n, (b + 1) * block), f);
    }
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; b++) total += partial[b];
  return total;
}

// out[j] = Σ over rows i of f(i, j, access), j = 0 … columns−1. Blocks of 64 rows in f32, each walked row by row as it lies in
// memory, four rows at a time; the sums of the blocks in f64, in order.
template <class F>
void sum_of_rows(Pool& pool, int64_t rows, int64_t columns, float* out, F f) {
  constexpr int64_t block = 64;
  const int64_t blocks = (rows + block - 1) / block;
  auto* const partial =
      static_cast<float*>(pool.scratch(0, 0, static_cast<size_t>(blocks * columns) * sizeof(float)));
  parallel_ranges(pool, blocks, std::max<int64_t>(1, kElementGrain / (block * columns)), [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; b++) {
      float* const sums = partial + b * columns;
      std::fill_n(sums, columns, 0.0f);
      const int64_t end = std::min(rows, (b + 1) * block);
      int64_t i = b * block;
      for (; i + 4 <= end; i += 4) {
        in_vectors(0, columns, [&](int64_t j, auto access) {
          const Vec four = (f(i, j, access) + f(i + 1, j, access)) + (f(i + 2, j, access) + f(i + 3, j, access));
          access.store(sums + j, access.load(sums + j) + four);
        });
      }
      for (; i < end; i++) {
        in_vectors(0, columns, [&](int64_t j, auto access) {
          access.store(sums + j, access.load(sums + j) + f(i, j, access));
        });
      }
    }
  });
  auto* const totals = static_cast<double*>(pool.scratch(0, 1, static_cast<size_t>(columns) * sizeof(double)));
  std::fill_n(totals, columns, 0.0);
  for (int64_t b = 0; b < blocks; b++) {
    for (int64_t j = 0; j < columns; j++) totals[j] += partial[b * columns + j];
  }
  for (int64_t j = 0; j < columns; j++) out[j] = static_cast<float>(totals[j]);
}

}  // namespace slayer::SLAYER_ISA
