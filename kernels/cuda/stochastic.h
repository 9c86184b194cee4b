// Stochastic rounding to bf16, bit for bit as packages/tensor/src/stochastic.ts has it, where the source is named.
#pragma once

#include "device.h"

namespace slayer::cuda {

__device__ __forceinline__ uint32_t mix(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

__device__ __forceinline__ uint32_t stochastic_key(uint32_t seed, uint32_t step) { return mix(mix(seed + 0x9e3779b9u) ^ step); }

__device__ __forceinline__ bf16 round_stochastically(float x, uint32_t key, int64_t i) {
  const uint32_t random = mix(mix(static_cast<uint32_t>(i) ^ key) + static_cast<uint32_t>(i >> 32) + key) >> 16;
  const uint32_t bits = float_bits(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  // A NaN keeps its upper half; one that has all its bits in the lower half becomes an infinity, and training stops at either.
  return {static_cast<uint16_t>((finite ? bits + random : bits) >> 16)};
}

}  // namespace slayer::cuda
