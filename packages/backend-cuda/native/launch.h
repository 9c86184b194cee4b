// A kernel launch as data: what the lowering makes of a plan's step, and a device runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <type_traits>

namespace slayer::cuda {

// What a device offers to one block, and how many blocks it can run at once at least.
struct Limits {
  size_t shared_bytes = 0;
  int multiprocessors = 1;
  int64_t panel_bytes = int64_t{128} << 20;  // of logits that exist at a time; more where a tile's rows take more
  bool warpgroups = false;  // whether Hopper's copy engine and products may be used
  bool blas = false;        // whether cuBLASLt's may
  std::set<int> heads;      // sizes that attention's products have kernels for
  bool compiler = false;    // whether kernels can be compiled for others
};

struct Extent {
  uint32_t x = 1, y = 1, z = 1;
};

struct Launch {
  std::string kernel;
  Extent grid;
  Extent block;
  size_t shared_bytes = 0;
  uint32_t step = 0;  // of the plan
  // The kernel's one argument, a struct of kernels/cuda/args.h.
  alignas(64) std::array<std::byte, 1024> args;
  size_t args_bytes = 0;

  template <class Args>
  void set(const Args& from) {
    static_assert(std::is_trivially_copyable_v<Args> && sizeof(Args) <= sizeof(args) && alignof(Args) <= 64);
    std::memcpy(args.data(), &from, sizeof(Args));
    args_bytes = sizeof(Args);
  }
};

}  // namespace slayer::cuda
