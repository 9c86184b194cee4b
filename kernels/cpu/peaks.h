// What a processor can do at most, by measurement: the roof that kernels are measured against.
#pragma once

#include "isa.h"

namespace slayer::SLAYER_ISA {

// Independent chains of multiply-adds held in registers. Returns the operations done in `rounds` rounds, two per multiply-add and
// lane; the sum of the chains only keeps the compiler from dropping them.
inline double fma_chains(int64_t rounds, float x, float& sum_of_chains) {
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
  sum_of_chains = sum(total);
  return static_cast<double>(rounds) * kChains * kLanes * 2;
}

// STREAM's copy (McCalpin 1995) with plain loads and stores, as the kernels write: to[i] = from[i] for n floats, a multiple of
// kLanes.
inline void copy_stream(const float* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load(from + i));
}

}  // namespace slayer::SLAYER_ISA
