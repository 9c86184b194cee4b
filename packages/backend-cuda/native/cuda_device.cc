// A GPU through the driver. Everything goes over one stream; plans are captured into CUDA graphs, which are launched whole.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

#include "blas.h"
#include "device.h"
#include "driver.h"
#include "graph_plan.h"
#include "health.h"
#include "modules.h"
#include "nvtx.h"

namespace slayer::cuda {

namespace {

// Copies pass through two pinned pieces of this size by turns: while one is on its way, the other is filled.
constexpr size_t kPinnedBytes = size_t{8} << 20;

std::string gib(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (size_t{1} << 30));
  return text;
}

CUdevice nth_device(int index) {
  int count = 0;
  CUdevice device = 0;
  const CUresult counted = driver().cuDeviceGetCount(&count);
  if (counted != kSuccess) throw DeviceError("device", "counting GPUs: " + driver().describe(counted));
  if (count == 0) throw DeviceError("no-device", "the NVIDIA driver finds no GPU (see nvidia-smi)");
  if (index >= count) {
    throw DeviceError("no-device", "there is no GPU " + std::to_string(index) + "; the driver has " + std::to_string(count));
  }
  const CUresult opened = driver().cuDeviceGet(&device, index);
  if (opened != kSuccess) throw DeviceError("device", "opening the GPU: " + driver().describe(opened));
  return device;
}

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, const std::string& kernels) : device_(nth_device(index)), health_(Health::of(device_)) {
    health_.require_sound();
    char name[256] = {};
    int major = 0;
    int minor = 0;
    check(driver().cuDeviceGetName(name, sizeof name - 1, device_), "the GPU's name");
    check(driver().cuDeviceGetAttribute(&major, kComputeCapabilityMajor, device_), "the GPU's compute capability");
    check(driver().cuDeviceGetAttribute(&minor, kComputeCapabilityMinor, device_), "the GPU's compute capability");
    int shared_bytes = 0;
    check(driver().cuDeviceGetAttribute(&shared_bytes, kMostSharedBytes, device_), "the GPU's shared memory");
    check(driver().cuDeviceGetAttribute(&limits_.multiprocessors, kMultiprocessors, device_), "the GPU's multiprocessors");
    limits_.shared_bytes = static_cast<size_t>(shared_bytes);
    limits_.warpgroups = major == 9 && driver().cuTensorMapEncodeTiled != nullptr;
    check(driver().cuDeviceTotalMem(&total_, device_), "the GPU's memory");
    limits_.panel_bytes = std::min(limits_.panel_bytes, static_cast<int64_t>(total_ / 4));
    name_ = std::string(name) + " (compute capability " + std::to_string(major) + "." + std::to_string(minor) + ")";
    if (major < 8) {
      throw DeviceError("wrong-architecture", name_ + " is too old: compute capability 8.0 (Ampere) or later is needed");
    }
    check(driver().cuDevicePrimaryCtxRetain(&context_, device_), "opening the GPU");
    try {
      enter_thread();
      modules_.load(kernels, name_, "sm_" + std::to_string(major) + std::to_string(minor) + (major == 9 ? "a" : ""));
      for (int head = 16; head <= 256; head += 16) {
        if (modules_.has("attention_mma_" + std::to_string(head))) limits_.heads.insert(head);
      }
      limits_.warpgroups = limits_.warpgroups && modules_.has("matmul_wgmma_nt_bf16") && modules_.has("attention_wgmma_128");
      limits_.compiler = modules_.can_compile();
      check(driver().cuStreamCreate(&stream_, kNonBlockingStream), "creating a stream");
      for (Pinned& pinned : pinned_) {
        check(driver().cuMemAllocHost(&pinned.data, kPinnedBytes), "pinning memory");
        check(driver().cuEventCreate(&pinned.free, kDisableTiming), "creating an event");
      }
      for (CUevent& event : between_) check(driver().cuEventCreate(&event, kDisableTiming), "creating an event");
    } catch (...) {
      close();
      throw;
    }
    const char* const sync = std::getenv("SLAYER_CUDA_SYNC");
    one_by_one_ = sync != nullptr && *sync != '\0' && std::strcmp(sync, "0") != 0;
  }
  ~CudaDevice() override { close(); }

  std::string name() const override { return name_; }
  size_t total_bytes() const override { return total_; }
  size_t free_bytes() override {
    size_t free = 0;
    size_t total = 0;
    enter_thread();
    check(driver().cuMemGetInfo(&free, &total), "the GPU's free memory");
    return free;
  }
  Limits limits() const override { return limits_; }
  std::string build() const override {
    return "driver " + std::to_string(driver().version()) + ", kernels " + modules_.digest();
  }

  void enter_thread() override { check(driver().cuCtxSetCurrent(context_), "entering the GPU's context"); }

  uint64_t allocate(size_t bytes) override {
    health_.require_sound();
    enter_thread();
    CUdeviceptr address = 0;
    const size_t taken = std::max<size_t>(bytes, 256);
    const CUresult result = driver().cuMemAlloc(&address, taken);
    if (result == kOutOfMemory) {
      size_t free = 0;
      size_t total = 0;
      driver().cuMemGetInfo(&free, &total);
      health_.fail(result, "no memory for " + gib(bytes) + " (" + gib(free) + " of the device's " + gib(total) + " are free)", stream_);
    }
    check(result, "allocating memory");
    check(driver().cuMemsetD8Async(address, 0, taken, nullptr), "clearing memory");
    check(driver().cuStreamSynchronize(nullptr), "clearing memory");
    return address;
  }
  void release(uint64_t address) noexcept override {
    if (driver().cuCtxSetCurrent(context_) == kSuccess) driver().cuMemFree(address);
  }

  std::unique_ptr<Prepared> prepare(std::vector<Launch> launches, uint64_t fault, size_t cleared) override {
    health_.require_sound();
    enter_thread();
    const Range range([&] { return "prepare " + std::to_string(launches.size()) + " launches"; });
    auto plan = std::make_unique<GraphPlan>();
    plan->launches = std::move(launches);
    plan->fault = fault;
    plan->cleared = cleared;
    for (const Launch& each : plan->launches) {
      if (each.kernel != kLibraryProduct) modules_.find(each.kernel, each.shared_bytes);
    }
    // The runner's stream may be at work: what is captured goes through one of its own.
    CUstream capture = nullptr;
    check(driver().cuStreamCreate(&capture, kNonBlockingStream), "creating a stream");
    try {
      for (size_t from = 0; from < plan->launches.size(); from += kGraphLaunches) {
        plan->graphs.push_back(capture_graph(*plan, from, std::min(from + kGraphLaunches, plan->launches.size()), capture));
      }
    } catch (...) {
      driver().cuStreamDestroy(capture);
      throw;
    }
    driver().cuStreamDestroy(capture);
    return plan;
  }

  void write(uint64_t to, const void* from, size_t bytes) override {
    health_.require_sound();
    const Range range([&] { return "write " + std::to_string(bytes) + " bytes"; });
    for (size_t done = 0; done < bytes; done += kPinnedBytes) {
      const size_t n = std::min(kPinnedBytes, bytes - done);
      Pinned& pinned = next_pinned();
      std::memcpy(pinned.data, static_cast<const std::byte*>(from) + done, n);
      check(driver().cuMemcpyHtoDAsync(to + done, pinned.data, n, stream_), "copying to the GPU");
      check(driver().cuEventRecord(pinned.free, stream_), "copying to the GPU");
    }
    check(driver().cuStreamSynchronize(stream_), "copying to the GPU");
  }

  void read(void* to, uint64_t from, size_t bytes) override {
    health_.require_sound();
    const Range range([&] { return "read " + std::to_string(bytes) + " bytes"; });
    struct Piece {
      Pinned* pinned;
      size_t at, bytes;
    } before{nullptr, 0, 0};
    const auto take = [&](const Piece& piece) {
      if (piece.pinned == nullptr) return;
      check(driver().cuEventSynchronize(piece.pinned->free), "copying from the GPU");
      std::memcpy(static_cast<std::byte*>(to) + piece.at, piece.pinned->data, piece.bytes);
    };
    for (size_t done = 0; done < bytes; done += kPinnedBytes) {
      const Piece piece{&next_pinned(), done, std::min(kPinnedBytes, bytes - done)};
      check(driver().cuMemcpyDtoHAsync(piece.pinned->data, from + done, piece.bytes, stream_), "copying from the GPU");
      check(driver().cuEventRecord(piece.pinned->free, stream_), "copying from the GPU");
      take(before);
      before = piece;
    }
    take(before);
  }

  Outcome run(Prepared& prepared, const std::atomic<bool>& cancelled, Fault& fault) override {
    health_.require_sound();
    auto& plan = static_cast<GraphPlan&>(prepared);
    const Range range([&] { return "run " + std::to_string(plan.launches.size()) + " launches"; });
    check(driver().cuMemsetD8Async(plan.fault, 0, plan.cleared, stream_), "running a plan");
    const Outcome outcome = one_by_one_ ? run_one_by_one(plan, cancelled) : run_graphs(plan, cancelled);
    Pinned& pinned = next_pinned();
    check(driver().cuMemcpyDtoHAsync(pinned.data, plan.fault, sizeof(Fault), stream_), "running a plan");
    check(driver().cuStreamSynchronize(stream_), "running a plan");
    std::memcpy(&fault, pinned.data, sizeof(Fault));
    return outcome;
  }

 private:
  struct Pinned {
    void* data = nullptr;
    CUevent free = nullptr;
  };

  void check(CUresult result, const char* what) { health_.check(result, what, stream_); }
  // Of the plan's graphs, `done` had ended and `launched` had begun: one of those between has failed.
  void check(CUresult result, const GraphPlan& plan, size_t done, size_t launched) {
    if (result != kSuccess) health_.fail(result, plan.describe(done, launched), stream_, Health::Culprit::known);
  }

  Pinned& next_pinned() {
    Pinned& pinned = pinned_[turn_++ % 2];
    check(driver().cuEventSynchronize(pinned.free), "waiting for a copy");
    return pinned;
  }

  CUresult launch(const Launch& launch, CUstream stream) {
    if (launch.kernel == kLibraryProduct) {
      LibraryProduct product;
      std::memcpy(&product, launch.args.data(), sizeof product);
      multiply_with_blas(product, stream);
      return kSuccess;
    }
    void* arguments[] = {const_cast<std::byte*>(launch.args.data())};
    return driver().cuLaunchKernel(modules_.find(launch.kernel, launch.shared_bytes), launch.grid.x, launch.grid.y, launch.grid.z,
                                   launch.block.x, launch.block.y, launch.block.z, static_cast<unsigned>(launch.shared_bytes), stream,
                                   arguments, nullptr);
  }
  void check_launch(CUresult result, const Launch& launch, Health::Culprit culprit) {
    if (result == kSuccess) return;
    health_.fail(result, "step " + std::to_string(launch.step) + ", kernel " + launch.kernel, stream_, culprit);
  }

  CUgraphExec capture_graph(const GraphPlan& plan, size_t from, size_t to, CUstream stream) {
    check(driver().cuStreamBeginCapture(stream, kCaptureThreadLocal), "capturing a graph");
    CUgraph graph = nullptr;
    CUresult launched = kSuccess;
    size_t i = from;
    std::exception_ptr refused;
    try {
      while (i < to && (launched = launch(plan.launches[i], stream)) == kSuccess) i++;
    } catch (...) {
      refused = std::current_exception();
    }
    // The capture ends first: nothing else may be asked of the driver before.
    const CUresult ended = driver().cuStreamEndCapture(stream, &graph);
    if (graph != nullptr && (refused || launched != kSuccess || ended != kSuccess)) driver().cuGraphDestroy(graph);
    if (refused) std::rethrow_exception(refused);
    check_launch(launched, plan.launches[std::min(i, to - 1)], Health::Culprit::unknown);  // a launch that is captured does not run
    check(ended, "capturing a graph");
    CUgraphExec executable = nullptr;
    const CUresult result = driver().cuGraphInstantiate(&executable, graph, 0);
    driver().cuGraphDestroy(graph);
    check(result, "making a graph ready");
    return executable;
  }

  Outcome run_graphs(GraphPlan& plan, const std::atomic<bool>& cancelled) {
    size_t done = 0;
    size_t launched = 0;
    for (; launched < plan.graphs.size(); launched++) {
      // At most two graphs are queued: an abort waits for no more than those.
      if (launched >= 2) {
        check(driver().cuEventSynchronize(between_[launched % 2]), plan, done, launched);
        done = launched - 1;
      }
      if (cancelled) break;
      const Range range([&] { return plan.title(launched); });
      check(driver().cuGraphLaunch(plan.graphs[launched], stream_), plan, done, launched + 1);
      check(driver().cuEventRecord(between_[launched % 2], stream_), plan, done, launched + 1);
    }
    check(driver().cuStreamSynchronize(stream_), plan, done, launched);
    return launched < plan.graphs.size() ? Outcome::cancelled : Outcome::done;
  }

  Outcome run_one_by_one(GraphPlan& plan, const std::atomic<bool>& cancelled) {
    for (const Launch& each : plan.launches) {
      if (cancelled) return Outcome::cancelled;
      const Range range([&] { return "step " + std::to_string(each.step) + ", " + each.kernel; });
      check_launch(launch(each, stream_), each, Health::Culprit::known);
      check_launch(driver().cuStreamSynchronize(stream_), each, Health::Culprit::known);
    }
    return Outcome::done;
  }

  void close() noexcept {
    if (context_ == nullptr) return;
    if (driver().cuCtxSetCurrent(context_) == kSuccess) {
      modules_.unload();
      for (CUevent event : between_) if (event != nullptr) driver().cuEventDestroy(event);
      for (Pinned& pinned : pinned_) {
        if (pinned.free != nullptr) driver().cuEventDestroy(pinned.free);
        if (pinned.data != nullptr) driver().cuMemFreeHost(pinned.data);
      }
      if (stream_ != nullptr) driver().cuStreamDestroy(stream_);
    }
    driver().cuDevicePrimaryCtxRelease(device_);
    context_ = nullptr;
  }

  CUdevice device_;
  Health& health_;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  std::string name_;
  size_t total_ = 0;
  Limits limits_;
  Modules modules_;
  Pinned pinned_[2];
  CUevent between_[2] = {};
  size_t turn_ = 0;
  bool one_by_one_ = false;
};

}  // namespace

std::shared_ptr<Device> open_device(int index, const std::string& kernels) {
  driver();
  return std::make_shared<CudaDevice>(index, kernels);
}

}  // namespace slayer::cuda
