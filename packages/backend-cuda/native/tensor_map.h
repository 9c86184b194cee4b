// Tensors as Hopper's copy engine takes them.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "../../../kernels/cuda/args.h"

namespace slayer::cuda {

// A tensor of bf16 at `data` (aligned to 16 bytes), cut into boxes of 64 × 64 (× 1): its two or three extents, innermost first, and the strides
// of all but the innermost in bytes, multiples of 16. Zeros lie around it. Throws a DeviceError if the driver refuses.
TensorMap map_of(const void* data, std::initializer_list<int64_t> extents, std::initializer_list<int64_t> strides);

}  // namespace slayer::cuda
