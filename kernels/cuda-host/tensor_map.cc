#include "tensor_map.h"

#include <cstring>

namespace slayer::host {

namespace {

constexpr uint64_t kMark = 0x736c61796572'0000;

}  // namespace

void encode(const TiledTensor& tensor, uint64_t* words) {
  std::memset(words, 0, 128);
  words[0] = kMark | static_cast<uint64_t>(tensor.rank);
  words[1] = reinterpret_cast<uint64_t>(tensor.data);
  for (int i = 0; i < TiledTensor::kMost; i++) {
    words[2 + i] = static_cast<uint64_t>(tensor.extent[i]);
    words[5 + i] = static_cast<uint64_t>(tensor.stride[i]);
    words[8 + i] = static_cast<uint64_t>(tensor.box[i]);
  }
}

bool decode(const uint64_t* words, TiledTensor& tensor) {
  if ((words[0] & ~uint64_t{0xffff}) != kMark) return false;
  tensor.rank = static_cast<int>(words[0] & 0xffff);
  tensor.data = reinterpret_cast<const std::byte*>(words[1]);
  for (int i = 0; i < TiledTensor::kMost; i++) {
    tensor.extent[i] = static_cast<int64_t>(words[2 + i]);
    tensor.stride[i] = static_cast<int64_t>(words[5 + i]);
    tensor.box[i] = static_cast<int>(words[8 + i]);
  }
  return true;
}

void copy_box(const TiledTensor& tensor, const int (&at)[TiledTensor::kMost], std::byte* to) {
  std::memset(to, 0, tensor.box_bytes());
  for (uint32_t r = 0; r < tensor.box_rows(); r++) {
    const int64_t row = at[1] + static_cast<int64_t>(r) % tensor.box[1];
    const int64_t slice = at[2] + static_cast<int64_t>(r) / tensor.box[1];
    if (row < 0 || row >= tensor.extent[1] || slice < 0 || slice >= tensor.extent[2]) continue;
    const std::byte* const from = tensor.data + row * tensor.stride[1] + slice * tensor.stride[2];
    for (uint32_t i = 0; i < 64; i++) {
      const int64_t column = int64_t{at[0]} + i;
      if (column < 0 || column >= tensor.extent[0]) continue;
      std::memcpy(to + r * 128 + ((i / 8) ^ (r % 8)) * 16 + i % 8 * 2, from + column * 2, 2);
    }
  }
}

}  // namespace slayer::host
