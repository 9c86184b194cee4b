// What attention's products and exponentials are made of.
//
// All tiles have queries in the lanes of a vector: scores are Sᵀ [keys, queries], outputs Oᵀ [E, queries]. Maxima and sums over
// keys are then operations between vectors, and K and V are read as they lie, one broadcast element at a time.
#pragma once

#include <type_traits>

#include "../cpu/isa.h"

namespace slayer::SLAYER_ISA {

constexpr int kMicroRows = kRegisters == 32 ? 8 : 4;
constexpr int kMicroVectors = 3;
constexpr int kPanel = kMicroVectors * kLanes;

SLAYER_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }  // NaN in b stays, NaN in a does not

// acc[r][v] += Σ_k a(r, k)·b[k][v] for vectors v = First … V−1, k = 0 … depth−1. a(r, k) is a[r·stride + k] if ByRow, else
// a[k·stride + r]; rows of b are b_stride floats apart.
template <bool ByRow, int First = 0, int R, int V>
SLAYER_INLINE void multiply(int64_t depth, const float* a, int64_t stride, const float* b, int64_t b_stride, Vec (&acc)[R][V]) {
  for (int64_t k = 0; k < depth; k++) {
    Vec row[V];
#pragma GCC unroll 4
    for (int v = First; v < V; v++) row[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Vec x = splat(ByRow ? a[r * stride] : a[r]);
#pragma GCC unroll 4
      for (int v = First; v < V; v++) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
    a += ByRow ? 1 : stride;
    b += b_stride;
  }
}

// body(integral_constant<int, n>) for 1 ≤ n ≤ Most: a count known at run time becomes one known at compile time.
template <int Most = kMicroVectors, class F>
SLAYER_INLINE void with_count(int64_t n, F body) {
  if constexpr (Most == 1) {
    body(std::integral_constant<int, 1>{});
  } else {
    if (n == Most) body(std::integral_constant<int, Most>{});
    else with_count<Most - 1>(n, body);
  }
}

constexpr float kLog2e = 1.44269504f;
constexpr float kLn2 = 0.693147181f;
constexpr float kLowest = -3.402823466e38f;

// 2^x for x < 128, 0 below −126 (−∞ too), NaN for NaN. x = n + r with |r| ≤ ½; 2^r by the polynomial of degree 6 whose largest
// relative error there is least (2·10⁻⁹). Half the work of exp: softmax needs no other range, and its base is free to choose.
SLAYER_INLINE Vec exp2_small(Vec x) {
  const Vec shifted = x + 12582912.0f;  // 1.5·2^23: the sum's low bits are n
  const Vec r = x - (shifted - 12582912.0f);
  Vec p = fma(splat(1.5345696513e-4f), r, splat(1.3400063314e-3f));
  p = fma(p, r, splat(9.6184903964e-3f));
  p = fma(p, r, splat(5.5503284508e-2f));
  p = fma(p, r, splat(2.4022646868e-1f));
  p = fma(p, r, splat(6.9314720589e-1f));
  p = fma(p, r, splat(1.0f));
  const Vec power = (Vec)(((IVec)shifted + 127) << 23);
  return x < splat(-126.0f) ? Vec{} : p * power;
}

}  // namespace slayer::SLAYER_ISA
