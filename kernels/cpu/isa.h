// The vector unit that this translation unit is compiled for.
//
// Kernels use the compiler's vector extension (GCC and Clang), so the same source gives AVX-512, AVX2+FMA, NEON or plain SSE2
// code, depending on the flags it is compiled with. SLAYER_ISA, a name given by the build, becomes the namespace of
// everything in the file: several copies live in one binary, and no inline function of one is merged with another's.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernel.h"

#ifndef SLAYER_ISA
#error "SLAYER_ISA must name the instruction set this file is compiled for: avx512, avx2, neon or portable"
#endif

namespace slayer::SLAYER_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
#elif defined(__ARM_NEON)
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
#else
constexpr int kLanes = 4;
constexpr int kRegisters = 16;
#endif

// kLanes floats, and as many 32-bit integers (what a comparison of two Vec gives: 0 or −1 per lane).
typedef float Vec __attribute__((vector_size(kLanes * 4), may_alias));
typedef int32_t IVec __attribute__((vector_size(kLanes * 4), may_alias));
typedef uint32_t UVec __attribute__((vector_size(kLanes * 4), may_alias));
typedef uint16_t HVec __attribute__((vector_size(kLanes * 2), may_alias));

#define SLAYER_INLINE __attribute__((always_inline)) inline

SLAYER_INLINE Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

SLAYER_INLINE void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

SLAYER_INLINE Vec splat(float x) { return x - Vec{}; }

// The first n lanes (0 ≤ n ≤ kLanes) from memory, the others `fill`; never reads beyond p + n.
SLAYER_INLINE Vec load_part(const float* p, int64_t n, float fill = 0) {
  Vec v = splat(fill);
  std::memcpy(&v, p, static_cast<size_t>(n) * 4);
  return v;
}

SLAYER_INLINE void store_part(float* p, Vec v, int64_t n) { std::memcpy(p, &v, static_cast<size_t>(n) * 4); }

// bf16 is the upper half of an f32, so widening is exact.
SLAYER_INLINE Vec widen(HVec bits) { return (Vec)(__builtin_convertvector(bits, UVec) << 16); }

// To the nearest bf16, to even where two are as near; NaN stays NaN, and quiet.
SLAYER_INLINE HVec narrow(Vec v) {
  const UVec bits = (UVec)v;
  const UVec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const UVec quiet = (bits >> 16) | 0x40;
  return __builtin_convertvector(v == v ? rounded : quiet, HVec);
}

SLAYER_INLINE Vec load(const Bf16* p) {
  HVec bits;
  std::memcpy(&bits, p, sizeof bits);
  return widen(bits);
}

SLAYER_INLINE void store(Bf16* p, Vec v) {
  const HVec bits = narrow(v);
  std::memcpy(p, &bits, sizeof bits);
}

SLAYER_INLINE Vec load_part(const Bf16* p, int64_t n) {
  HVec bits{};
  std::memcpy(&bits, p, static_cast<size_t>(n) * 2);
  return widen(bits);
}

SLAYER_INLINE void store_part(Bf16* p, Vec v, int64_t n) {
  const HVec bits = narrow(v);
  std::memcpy(p, &bits, static_cast<size_t>(n) * 2);
}

// One element.
SLAYER_INLINE float widen(float x) { return x; }
SLAYER_INLINE float widen(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// a·b + c: contracted to one instruction where the unit has it (-ffp-contract=fast).
SLAYER_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

// Lane by lane; a comparison written inside the condition becomes one blend, or one maximum instruction.
SLAYER_INLINE Vec select(IVec mask, Vec yes, Vec no) { return mask ? yes : no; }

SLAYER_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
SLAYER_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }

// Sum of the lanes, pairwise: lane i with lane i + half, halving each time.
SLAYER_INLINE float sum(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

SLAYER_INLINE float max_lane(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  float best = lanes[0];
  for (int i = 1; i < kLanes; i++) best = lanes[i] > best ? lanes[i] : best;
  return best;
}

// e^x with a relative error below 2e-7 over the whole range; 0 below −87.3, +inf above 88.7. x = n·ln 2 + r with
// |r| ≤ ln 2 / 2 (Cody & Waite, ln 2 in two parts), e^r by its Taylor polynomial of degree 7 (remainder 2·10⁻⁹), times 2^n.
SLAYER_INLINE Vec exp(Vec x) {
  const Vec low = splat(-87.33654f);
  const Vec high = splat(88.72283f);
  const Vec clamped = min(max(x, low), high);
  const Vec magic = splat(12582912.0f);  // 1.5·2^23: adding and subtracting it rounds to the nearest integer
  const Vec n = (clamped * 1.44269504f + magic) - magic;
  Vec r = fma(n, splat(-0.693359375f), clamped);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.0f / 5040);
  p = fma(p, r, splat(1.0f / 720));
  p = fma(p, r, splat(1.0f / 120));
  p = fma(p, r, splat(1.0f / 24));
  p = fma(p, r, splat(1.0f / 6));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  // 2^n in two factors, so that n = 128 does not overflow the exponent field.
  const IVec i = __builtin_convertvector(n, IVec);
  const IVec half = i >> 1;
  const Vec scale1 = (Vec)((half + 127) << 23);
  const Vec scale2 = (Vec)((i - half + 127) << 23);
  Vec y = p * scale1 * scale2;
  y = select(x < low, Vec{}, y);
  y = select(x > high, splat(__builtin_inff()), y);
  return select(x == x, y, x);  // NaN stays NaN
}

}  // namespace slayer::SLAYER_ISA
