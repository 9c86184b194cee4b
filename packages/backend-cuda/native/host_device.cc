// The device of the test addon: the host's memory, and kernels on kernels/cuda-host's executor. Grids are walked forwards and
// backwards by turns, so that a kernel whose blocks depend on each other's order gives two results.
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

#include "../../../kernels/cuda-host/executor.h"
#include "device.h"

namespace slayer::cuda {

namespace {

struct HostPrepared final : Prepared {
  std::vector<Launch> launches;
  uint64_t fault;
  bool backwards = false;
};

class HostDevice final : public Device {
 public:
  ~HostDevice() override {
    for (void* piece : pieces_) std::free(piece);
  }
  std::string name() const override { return "host executor (tests kernels without a GPU)"; }
  size_t total_bytes() const override { return size_t{4} << 30; }

  uint64_t allocate(size_t bytes) override {
    const size_t rounded = (bytes + 255) / 256 * 256;
    void* const piece = rounded > total_bytes() ? nullptr : std::aligned_alloc(256, rounded == 0 ? 256 : rounded);
    if (piece == nullptr) throw DeviceError("out-of-memory", "no memory for " + std::to_string(bytes) + " bytes");
    std::memset(piece, 0, rounded);
    const std::lock_guard lock(mutex_);
    pieces_.insert(piece);
    return reinterpret_cast<uint64_t>(piece);
  }
  void release(uint64_t address) noexcept override {
    void* const piece = reinterpret_cast<void*>(address);
    const std::lock_guard lock(mutex_);
    if (pieces_.erase(piece) > 0) std::free(piece);
  }

  std::unique_ptr<Prepared> prepare(std::vector<Launch> launches, uint64_t fault) override {
    for (const Launch& launch : launches) {
      if (host::find_kernel(launch.kernel) == nullptr) throw DeviceError("no-kernels", "there is no kernel " + launch.kernel);
    }
    auto prepared = std::make_unique<HostPrepared>();
    prepared->launches = std::move(launches);
    prepared->fault = fault;
    return prepared;
  }

  void enter_thread() override {}
  void write(uint64_t to, const void* from, size_t bytes) override { std::memcpy(reinterpret_cast<void*>(to), from, bytes); }
  void read(void* to, uint64_t from, size_t bytes) override { std::memcpy(to, reinterpret_cast<void*>(from), bytes); }

  Outcome run(Prepared& prepared, const std::atomic<bool>& cancelled, Fault& fault) override {
    auto& self = static_cast<HostPrepared&>(prepared);
    auto* const reported = reinterpret_cast<Fault*>(self.fault);
    *reported = {};
    for (const Launch& launch : self.launches) {
      if (cancelled) return Outcome::cancelled;
      const auto dim = [](const Extent& e) { return host::Dim3{e.x, e.y, e.z}; };
      try {
        host::executor().launch(launch.kernel, dim(launch.grid), dim(launch.block), launch.shared_bytes, launch.args.data(),
                                launch.args_bytes, self.backwards);
      } catch (const host::LaunchError& error) {
        throw DeviceError("kernel", "step " + std::to_string(launch.step) + ": " + error.what());
      }
    }
    self.backwards = !self.backwards;
    fault = *reported;
    return Outcome::done;
  }

 private:
  std::mutex mutex_;  // the last reference to a plan may be the runner's
  std::set<void*> pieces_;
};

}  // namespace

std::shared_ptr<Device> open_device(int index, const std::string&) {
  if (index != 0) throw DeviceError("no-device", "the host executor has one device, 0");
  return std::make_shared<HostDevice>();
}

}  // namespace slayer::cuda
