// A few vectors times a large matrix, as in decoding and short prompts: bound by the reading of the matrix, which therefore is
// read once, in place.
//
//   Y[t, j] = Σ_p X[t, p] · W[j, p]     0 ≤ t < T ≤ kThin, X rows contiguous, x_row floats apart
//
// W[j, p] = w[j·w_row + p·w_column], one of the two strides being 1: dot products along contiguous rows of W, or sums of its
// contiguous columns. Y[t, j] = y[t·y_row + j·y_column]. Each element's order of summation depends on k alone.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "../cpu/isa.h"

namespace slayer::SLAYER_ISA {

constexpr int kThin = 4;
constexpr int64_t kDotsFloats = 1 << 16;  // of W's rows that meet all vectors before the next ones are read: 256 KiB

// E: float or Bf16, how W is stored.
template <class E>
struct Thin {
  int64_t k;
  const float* x;
  int64_t x_row;
  const E* w;
  int64_t w_row;
  int64_t w_column;
  float* y;
  int64_t y_row;
  int64_t y_column;
};

template <int Half, size_t... I>
SLAYER_INLINE Vec add_rotated(Vec v, std::index_sequence<I...>) {
  return v + __builtin_shufflevector(v, v, ((I + Half) % kLanes)...);
}

// Sum of the lanes, in the order of isa.h's sum, without a way through memory: short dot products end in it.
template <int Half = kLanes / 2>
SLAYER_INLINE float sum_in_register(Vec v) {
  if constexpr (Half == 0) {
    return v[0];
  } else {
    return sum_in_register<Half / 2>(add_rotated<Half>(v, std::make_index_sequence<kLanes>()));
  }
}

// Rows [j, j + J) of W, contiguous along k: T·J dot products at once, so that each load of X serves J rows.
template <int T, int J, class E>
SLAYER_INLINE void thin_dots(const Thin<E>& s, int64_t j) {
  Vec total[T][J] = {};
  const auto step = [&](auto read, int64_t p) {
    Vec w[J];
#pragma GCC unroll 8
    for (int i = 0; i < J; i++) w[i] = read(s.w + (j + i) * s.w_row + p);
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
      const Vec x = read(s.x + t * s.x_row + p);
#pragma GCC unroll 8
      for (int i = 0; i < J; i++) total[t][i] = fma(x, w[i], total[t][i]);
    }
  };
  int64_t p = 0;
  for (; p + kLanes <= s.k; p += kLanes) step([](const auto* q) { return load(q); }, p);
  if (p < s.k) step([rest = s.k - p](const auto* q) { return load_part(q, rest); }, p);
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 8
    for (int i = 0; i < J; i++) s.y[t * s.y_row + (j + i) * s.y_column] = sum_in_register(total[t][i]);
  }
}

constexpr int64_t kThinColumns = 1024;  // of Y held in L1 by thin_sums

// Columns [j, j + n) of W, contiguous along j, n ≤ kThinColumns: whole rows of W times a number each are added to Y, which is in
// L1; R rows at once, so that Y is loaded and stored once for R of them.
template <int T, class E>
void thin_sums(const Thin<E>& s, int64_t j, int64_t n) {
  alignas(64) float total[T][kThinColumns] = {};
  const auto add_rows = [&]<int R>(std::integral_constant<int, R>, int64_t p) {
    const E* w = s.w + p * s.w_column + j;
    Vec x[T][R];
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) x[t][r] = splat(s.x[t * s.x_row + p + r]);
    }
    const auto add_vector = [&](auto read, int64_t i) {
      Vec row[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) row[r] = read(w + r * s.w_column + i);
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) {
        Vec y = load(&total[t][i]);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) y = fma(x[t][r], row[r], y);
        store(&total[t][i], y);
      }
    };
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) add_vector([](const auto* q) { return load(q); }, i);
    if (i < n) add_vector([rest = n - i](const auto* q) { return load_part(q, rest); }, i);
  };
  int64_t p = 0;
  for (; p + 4 <= s.k; p += 4) add_rows(std::integral_constant<int, 4>(), p);
  for (; p < s.k; p++) add_rows(std::integral_constant<int, 1>(), p);
  for (int t = 0; t < T; t++) {
    for (int64_t i = 0; i < n; i++) s.y[t * s.y_row + (j + i) * s.y_column] = total[t][i];
  }
}

// Columns [begin, end) of Y.
template <int T, class E>
void thin_range(const Thin<E>& s, int64_t begin, int64_t end) {
  int64_t j = begin;
  if (s.w_row == 1) {
    for (; j < end; j += kThinColumns) thin_sums<T>(s, j, std::min(kThinColumns, end - j));
  } else {
    constexpr int kTogether = kRegisters / 2 / T < 4 ? kRegisters / 2 / T : 4;
    for (; j + kTogether <= end; j += kTogether) thin_dots<T, kTogether>(s, j);
    for (; j < end; j++) thin_dots<T, 1>(s, j);
  }
}

template <class E>
void thin(int64_t rows, const Thin<E>& s, int64_t begin, int64_t end) {
  static_assert(kThin == 4);
  constexpr void (*kRanges[])(const Thin<E>&, int64_t, int64_t) = {thin_range<1>, thin_range<2>, thin_range<3>, thin_range<4>};
  kRanges[rows - 1](s, begin, end);
}

// More vectors than kThin, W's rows contiguous along k: some rows of W, which stay in L2, meet kThin vectors at a time, which stay
// in L1.
template <class E>
void thin_many(int64_t rows, const Thin<E>& s, int64_t begin, int64_t end) {
  const int64_t together = std::clamp<int64_t>(kDotsFloats / s.k, 4, 64) / 4 * 4;
  for (int64_t j = begin; j < end; j += together) {
    Thin<E> block = s;
    for (int64_t t = 0; t < rows; t += kThin) {
      block.x = s.x + t * s.x_row;
      block.y = s.y + t * s.y_row;
      thin(std::min<int64_t>(kThin, rows - t), block, j, std::min(j + together, end));
    }
  }
}

}  // namespace slayer::SLAYER_ISA
