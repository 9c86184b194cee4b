// A plan bound to memory: what `prepare` makes of the JavaScript plan and `run` walks through.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../../../kernels/cpu/kernel.h"
#include "memory.h"

namespace slayer {

// A buffer as JavaScript holds it. `memory` goes when the buffer is freed, once no run uses it; touched by the main thread only.
struct Block {
  Memory memory;
  size_t bytes = 0;
  int runs = 0;
  bool freed = false;
};

struct BoundStep {
  std::string op;
  KernelFunction kernel;
  Call call;
};

struct BoundPlan {
  std::vector<BoundStep> steps;
  std::vector<std::shared_ptr<Block>> blocks;
};

}  // namespace slayer
