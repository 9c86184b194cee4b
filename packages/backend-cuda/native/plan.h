// A plan bound to memory: what `prepare` makes of the JavaScript plan and `run` executes.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device.h"

namespace slayer::cuda {

// Device memory as JavaScript holds it. It goes when it is freed, once no job uses it; touched by the main thread only.
struct Block {
  Block(std::shared_ptr<Device> on, size_t size) : device(std::move(on)), address(device->allocate(size)), bytes(size) {}
  ~Block() { release(); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void release() {
    if (address != 0) device->release(std::exchange(address, 0));
  }

  std::shared_ptr<Device> device;
  uint64_t address;
  size_t bytes;
  int jobs = 0;
  bool freed = false;
};

struct BoundPlan {
  std::vector<std::shared_ptr<Block>> blocks;
  std::unique_ptr<Block> workspace;
  std::unique_ptr<Block> fault;
  std::vector<std::string> ops;  // by step, for messages
  std::unique_ptr<Prepared> prepared;
};

}  // namespace slayer::cuda
