// A plan bound to memory: what `prepare` makes of the JavaScript plan and `run` executes.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../../../native/read_plan.h"
#include "device.h"

namespace slayer::cuda {

struct DeviceBlock final : Block {
  DeviceBlock(std::shared_ptr<Device> on, size_t size) : Block(size), device(std::move(on)), at(device->allocate(size)) {}
  ~DeviceBlock() override { release(); }
  void* address() const override { return reinterpret_cast<void*>(at); }
  void release() override {
    if (at != 0) device->release(std::exchange(at, 0));
  }

  std::shared_ptr<Device> device;
  uint64_t at;
};

struct BoundPlan {
  Blocks blocks;
  std::shared_ptr<DeviceBlock> workspace;  // of all plans of a session that it is large enough for: one runs at a time
  std::unique_ptr<DeviceBlock> fault;  // and counters
  std::vector<std::string> ops;  // by step, for messages
  std::unique_ptr<Prepared> prepared;
};

}  // namespace slayer::cuda
