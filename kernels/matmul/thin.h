// A few vectors times a large matrix, as in decoding: bound by the reading of the matrix, which therefore is read once, in
// place.
//
//   Y[t, j] = Σ_p X[t, p] · W[j, p]     0 ≤ t < T ≤ kThin, X rows contiguous, x_row floats apart
//
// W[j, p] = w[j·w_row + p·w_column], one of the two strides being 1: dot products along contiguous rows of W, or sums of its
// contiguous columns. Y[t, j] = y[t·y_row + j·y_column]. Each element's order of summation depends on k alone.
#pragma once

#include <algorithm>

#include "../cpu/isa.h"

namespace slayer::SLAYER_ISA {

constexpr int kThin = 4;

struct Thin {
  int64_t k;
  const float* x;
  int64_t x_row;
  const float* w;
  int64_t w_row;
  int64_t w_column;
  float* y;
  int64_t y_row;
  int64_t y_column;
};

// Rows [j, j + J) of W, contiguous along k: T·J dot products at once, so that each load of X serves J rows.
template <int T, int J>
SLAYER_INLINE void thin_dots(const Thin& s, int64_t j) {
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
  for (; p + kLanes <= s.k; p += kLanes) step([](const float* q) { return load(q); }, p);
  if (p < s.k) step([rest = s.k - p](const float* q) { return load_part(q, rest); }, p);
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 8
    for (int i = 0; i < J; i++) s.y[t * s.y_row + (j + i) * s.y_column] = sum(total[t][i]);
  }
}

// Columns [j, j + lanes) of W, contiguous along j, lanes ≤ C vectors: Y's elements are running sums in registers.
template <int T, int C>
SLAYER_INLINE void thin_sums(const Thin& s, int64_t j, int64_t lanes) {
  Vec total[T][C] = {};
  const auto run = [&](auto read) {
    for (int64_t p = 0; p < s.k; p++) {
      Vec w[C];
#pragma GCC unroll 8
      for (int v = 0; v < C; v++) w[v] = read(s.w + p * s.w_column + j + v * kLanes);
#pragma GCC unroll 8
      for (int t = 0; t < T; t++) {
        const Vec x = splat(s.x[t * s.x_row + p]);
#pragma GCC unroll 8
        for (int v = 0; v < C; v++) total[t][v] = fma(x, w[v], total[t][v]);
      }
    }
  };
  if (lanes == C * kLanes) {
    run([](const float* q) { return load(q); });
  } else {
    run([lanes](const float* q) { return load_part(q, lanes); });
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
    float out[C * kLanes];
#pragma GCC unroll 8
    for (int v = 0; v < C; v++) store(out + v * kLanes, total[t][v]);
    for (int64_t i = 0; i < lanes; i++) s.y[t * s.y_row + (j + i) * s.y_column] = out[i];
  }
}

// Columns [begin, end) of Y.
template <int T>
void thin_range(const Thin& s, int64_t begin, int64_t end) {
  int64_t j = begin;
  if (s.w_row == 1) {
    constexpr int kWide = kRegisters / 2 / T < 8 ? kRegisters / 2 / T : 8;
    for (; j + kWide * kLanes <= end; j += kWide * kLanes) thin_sums<T, kWide>(s, j, kWide * kLanes);
    for (; j < end; j += kLanes) thin_sums<T, 1>(s, j, std::min<int64_t>(kLanes, end - j));
  } else {
    constexpr int kTogether = kRegisters / 2 / T < 4 ? kRegisters / 2 / T : 4;
    for (; j + kTogether <= end; j += kTogether) thin_dots<T, kTogether>(s, j);
    for (; j < end; j++) thin_dots<T, 1>(s, j);
  }
}

inline void thin(int64_t rows, const Thin& s, int64_t begin, int64_t end) {
  static_assert(kThin == 4);
  constexpr void (*kRanges[])(const Thin&, int64_t, int64_t) = {thin_range<1>, thin_range<2>, thin_range<3>, thin_range<4>};
  kRanges[rows - 1](s, begin, end);
}

}  // namespace slayer::SLAYER_ISA
