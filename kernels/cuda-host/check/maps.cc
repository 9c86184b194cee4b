// What the host's driver says to tensor maps: 0, or the error that NVIDIA's gives.
#include <dlfcn.h>

#include <cstdint>

#include "checks.h"

namespace {

// A map that is right: bf16, [40, 72] with rows of 80, boxes of 64 × 64.
struct Request {
  uint64_t* map;
  int type = 9;
  unsigned rank = 2;
  const void* data;
  uint64_t extents[2] = {72, 40};
  uint64_t stride = 160;
  unsigned box[2] = {64, 64};
  unsigned steps[2] = {1, 1};
  int swizzle = 3;
};

using Encode = int (*)(uint64_t*, int, unsigned, const void*, const uint64_t*, const uint64_t*, const unsigned*, const unsigned*, int, int, int, int);

}  // namespace

void check_maps(const char* driver) {
  void* const library = dlopen(driver, RTLD_NOW | RTLD_LOCAL);
  const auto encode = library == nullptr ? nullptr : reinterpret_cast<Encode>(dlsym(library, "cuTensorMapEncodeTiled"));
  if (encode == nullptr) return print("tensor map", "the driver has none");
  alignas(64) static uint64_t map[17];
  alignas(16) static std::byte data[40 * 160];
  const auto check = [&](const char* name, auto change) {
    Request request{.map = map, .data = data};
    change(request);
    print(name, std::to_string(encode(request.map, request.type, request.rank, request.data, request.extents, &request.stride, request.box,
                                      request.steps, 0, request.swizzle, 3, 0)));
  };
  check("tensor map", [](Request&) {});
  check("tensor map: address", [](Request& r) { r.data = data + 8; });
  check("tensor map: its own address", [](Request& r) { r.map = map + 1; });
  check("tensor map: stride", [](Request& r) { r.stride = 152; });
  check("tensor map: extent", [](Request& r) { r.extents[1] = 0; });
  check("tensor map: large box", [](Request& r) { r.box[1] = 257; });
  check("tensor map: wide box", [](Request& r) { r.box[0] = 128; });
  check("tensor map: no box", [](Request& r) { r.box[1] = 0; });
  check("tensor map: element stride", [](Request& r) { r.steps[0] = 0; });
  check("tensor map: rank", [](Request& r) { r.rank = 0; });
  check("tensor map: another type", [](Request& r) { r.type = 7; });
}
