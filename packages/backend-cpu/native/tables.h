// The kernels of each instruction set that the binary was built with.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "../../../kernels/cpu/kernel.h"
#include "peaks.h"

namespace slayer {

struct Isa {
  std::string_view name;
  std::span<const KernelEntry> kernels;
  PeakLoops peaks;

  // Null where there is no kernel for the op.
  KernelFunction find(std::string_view op) const {
    for (const KernelEntry& entry : kernels) {
      if (op == entry.op) return entry.run;
    }
    return nullptr;
  }
};

// What this processor and this operating system can run, fastest first; never empty.
std::vector<Isa> available_isas();

}  // namespace slayer
