// Small kernels for the executor's own checks: right ones, and ones that each break one rule of the programming model.
#pragma once

#include "../../cuda/device.h"

namespace slayer::cuda {

struct CheckArgs {
  float* out;
  const bf16* a;  // 16 × 64
  const bf16* b;  // 64 × 64
  int transposed;
};

}  // namespace slayer::cuda
