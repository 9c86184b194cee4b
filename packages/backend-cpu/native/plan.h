// A plan bound to memory: what `prepare` makes of the JavaScript plan and `run` walks through.
#pragma once

#include <vector>

#include "../../../kernels/cpu/kernel.h"
#include "../../../native/read_plan.h"

namespace slayer {

struct BoundStep {
  KernelFunction kernel;
  Call call;
};

struct BoundPlan {
  std::vector<BoundStep> steps;
  Blocks blocks;
};

}  // namespace slayer
