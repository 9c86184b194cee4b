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

// Products of a warpgroup: out [64, 64·blocks] = op(A)·op(B), A and B [kDepth, 64 or 64·blocks] or their transposes; see hopper.cu.
struct GroupCheckArgs {
  float* out;
  int k;
  int broken;  // which rule to break; 0 none
  TensorMap a, b;
};

}  // namespace slayer::cuda
