// The most multiply-adds one thread can do with an instruction set: independent chains held in registers.
#pragma once

#include "../../../kernels/cpu/isa.h"

namespace slayer::SLAYER_ISA {

// Operations (two per multiply-add and lane) in `rounds` rounds; the result only keeps the compiler from dropping them.
inline float fma_chains(int64_t rounds, float x, int64_t& operations) {
  constexpr int kChains = 12;  // covers a latency of 4 to 5 cycles on two units
  Vec chain[kChains];
  const Vec factor = splat(x);
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) chain[i] = splat(x + static_cast<float>(i));
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = fma(chain[i], factor, factor);
  }
  Vec total{};
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) total += chain[i];
  operations = rounds * kChains * kLanes * 2;
  return sum(total);
}

}  // namespace slayer::SLAYER_ISA
