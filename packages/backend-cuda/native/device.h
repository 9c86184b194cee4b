// Where plans run: what the session needs of a GPU (cuda_device.cc).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../../../kernels/cuda/args.h"
#include "../../../native/runner.h"
#include "launch.h"

namespace slayer::cuda {

// What the device cannot do. The code is for programs: see src/errors.ts.
using DeviceError = CodedError;

// Launches made ready to be run again and again.
class Prepared {
 public:
  virtual ~Prepared() = default;
};

// allocate, release and prepare are called on the main thread, the others on the runner's; each may throw a DeviceError.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string name() const = 0;
  virtual size_t total_bytes() const = 0;
  virtual size_t free_bytes() = 0;  // now
  virtual Limits limits() const = 0;
  // What times depend on beside the device: versions of driver and kernels, in a line.
  virtual std::string build() const = 0;

  // Zeroed, aligned to at least 256 bytes.
  virtual uint64_t allocate(size_t bytes) = 0;
  virtual void release(uint64_t address) noexcept = 0;

  // `fault` is a Fault in device memory, with whatever else each run clears first: `cleared` bytes.
  virtual std::unique_ptr<Prepared> prepare(std::vector<Launch> launches, uint64_t fault, size_t cleared) = 0;

  // To be called on a thread before the following.
  virtual void enter_thread() = 0;
  virtual void write(uint64_t to, const void* from, size_t bytes) = 0;
  virtual void read(void* to, uint64_t from, size_t bytes) = 0;
  enum class Outcome { done, cancelled };
  // Returns when all has been computed; the fault, if one was reported, is in `fault`.
  virtual Outcome run(Prepared& prepared, const std::atomic<bool>& cancelled, Fault& fault) = 0;
};

// Device `index`. `kernels` is the folder of the compiled kernels. Throws a DeviceError.
std::shared_ptr<Device> open_device(int index, const std::string& kernels);

}  // namespace slayer::cuda
