// What the host's driver writes into a TensorMap, and its boxes. The encoding is the host's own: NVIDIA's is not public.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slayer::host {

// A tensor of bf16 with up to three dimensions, innermost first, cut into boxes; those lie in shared memory with 16-byte chunks swizzled
// within 128 bytes.
struct TiledTensor {
  static constexpr int kMost = 3;
  const std::byte* data;
  int rank;
  int64_t extent[kMost];
  int64_t stride[kMost];  // bytes
  int box[kMost];

  uint32_t box_rows() const { return static_cast<uint32_t>(box[1] * box[2]); }
  uint32_t box_bytes() const { return box_rows() * 128; }
};

// The 16 words of a TensorMap.
void encode(const TiledTensor& tensor, uint64_t* words);
// False if the host's driver has not made these.
bool decode(const uint64_t* words, TiledTensor& tensor);

// The box whose first element is at these coordinates to `to`; zeros beyond the tensor.
void copy_box(const TiledTensor& tensor, const int (&at)[TiledTensor::kMost], std::byte* to);

}  // namespace slayer::host
