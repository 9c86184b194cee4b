#pragma once

#include "../../../kernels/cpu/kernel.h"

namespace slayer {

struct IsaEntry {
  int lanes;
  KernelFunction matmul;
  double (*fma_chains)(int64_t rounds, float x, float& sum);
};

}  // namespace slayer
