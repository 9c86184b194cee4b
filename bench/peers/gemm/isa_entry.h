#pragma once

#include "../../../kernels/cpu/kernel.h"

namespace slayer {

struct IsaEntry {
  int lanes;
  KernelFunction matmul;
  float (*fma_chains)(int64_t rounds, float x, int64_t& operations);
};

}  // namespace slayer
