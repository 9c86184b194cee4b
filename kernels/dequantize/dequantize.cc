// dequantize: w [R, C] = scale · value of the code, one scale f32 per 64 values of a row (scales [R, ⌈C/64⌉]).
//
//   8 bits: codes [R, ⌈C/4⌉] words, byte j of a row is the signed integer of value j
//   4 bits: codes [R, ⌈C/8⌉] words, byte j/2 of a row holds value j in its lower half if j is even; levels of nf4
//
// Processors with kernels here are little-endian, so that a row of words is a row of bytes. A byte of two 4-bit codes is looked up as a
// pair of floats in a table of 2 KiB, which stays in the first cache. Rows go to the threads.
#include <array>

#include "../cpu/kernel.h"
#include "../cpu/loops.h"
#include "nf4.h"

namespace slayer::SLAYER_ISA {

constexpr int64_t kGroup = 64;

// [b]: the values of the lower and of the upper code of byte b.
static constexpr std::array<std::array<float, 2>, 256> kPairs = [] {
  constexpr float levels[16] = SLAYER_NF4_LEVELS;
  std::array<std::array<float, 2>, 256> pairs{};
  for (size_t b = 0; b < 256; b++) pairs[b] = {levels[b & 15], levels[b >> 4]};
  return pairs;
}();

// Up to 64 values of a row, not yet scaled; `values` has room for 64.
SLAYER_INLINE void unpack4(const uint8_t* codes, int64_t n, float* values) {
  for (int64_t k = 0; k < (n + 1) / 2; k++) std::memcpy(values + 2 * k, kPairs[codes[k]].data(), 8);
}

SLAYER_INLINE void unpack8(const uint8_t* codes, int64_t n, float* values) {
  for (int64_t k = 0; k < n; k++) values[k] = static_cast<float>(static_cast<int8_t>(codes[k]));
}

void dequantize(const Call& call, Pool& pool) {
  const auto* const codes = reinterpret_cast<const uint8_t*>(call.in[0].i32());
  const float* const scales = call.in[1].f32();
  const bool four = call.attr("bits") == 4;
  const int64_t C = call.out[0].columns();
  const int64_t stride = 4 * call.in[0].columns();
  const int64_t groups = call.in[1].columns();
  float* const w = call.out[0].f32();
  parallel_ranges(pool, call.out[0].rows(), row_grain(C), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      for (int64_t g = 0; g < groups; g++) {
        const int64_t from = g * kGroup;
        const int64_t n = std::min(kGroup, C - from);
        float values[kGroup];
        if (four) unpack4(codes + row * stride + from / 2, n, values);
        else unpack8(codes + row * stride + from, n, values);
        const Vec scale = splat(scales[row * groups + g]);
        float* const to = w + row * C + from;
        in_vectors(0, n, [&](int64_t j, auto at) { at.store(to + j, at.load(values + j) * scale); });
      }
    }
  });
}

}  // namespace slayer::SLAYER_ISA
