#include "tensor_map.h"

#include <algorithm>
#include <string>

#include "driver.h"

namespace slayer::cuda {

namespace {

// CUtensorMapDataType, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion and CUtensorMapFloatOOBfill.
constexpr int kBf16 = 9, kNoInterleave = 0, kSwizzle128 = 3, kPromote256 = 3, kZeros = 0;

}  // namespace

TensorMap map_of(const void* data, std::initializer_list<int64_t> extents, std::initializer_list<int64_t> strides) {
  uint64_t sizes[3] = {}, steps[2] = {};
  std::copy(extents.begin(), extents.end(), sizes);
  std::copy(strides.begin(), strides.end(), steps);
  const uint32_t box[3] = {64, 64, 1}, each[3] = {1, 1, 1};
  TensorMap map;
  const auto encode = driver().cuTensorMapEncodeTiled;
  if (encode == nullptr) throw DeviceError("old-driver", "the NVIDIA driver has no cuTensorMapEncodeTiled");
  const CUresult result = encode(&map, kBf16, static_cast<unsigned>(extents.size()), const_cast<void*>(data), sizes, steps, box, each, kNoInterleave,
                                 kSwizzle128, kPromote256, kZeros);
  if (result == kSuccess) return map;
  std::string what = "a map of a tensor of";
  for (const int64_t& extent : extents) what += (&extent == extents.begin() ? " " : " × ") + std::to_string(extent);
  throw DeviceError("device", what + ": " + driver().describe(result));
}

}  // namespace slayer::cuda
