// Named ranges for profilers (NVTX 3): a tool such as Nsight Systems names a library in NVTX_INJECTION64_PATH, which puts its functions into
// tables that the program offers. As in NVIDIA's nvtx3/nvtxDetail/nvtxTypes.h; no library of NVTX is needed. Without a tool a range
// costs one comparison.
#pragma once

#include <string>

namespace slayer::cuda {

// Whether a tool listens. The first call loads it.
bool profiled();

// From here to the end of the scope, on this thread. Ranges nest.
class Range {
 public:
  // `name()` is called only if a tool listens.
  template <class Name>
  explicit Range(Name name) : open_(profiled()) {
    if (open_) push(name());
  }
  ~Range() {
    if (open_) pop();
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  static void push(const std::string& name);
  static void pop();
  bool open_;
};

}  // namespace slayer::cuda
