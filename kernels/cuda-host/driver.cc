// A CUDA driver for tests: a library with the entry points of NVIDIA's (those that packages/backend-cuda/native/driver.h names), which
// runs kernels on the host's executor. What a real one may do late it does as late as it can: work on a stream waits until
// somebody synchronizes. Fresh memory holds NaN. Grids are walked forwards and backwards by turns, so that a kernel whose
// blocks depend on each other's order gives two results. As with NVIDIA's, a kernel that fails makes every later call fail.
//
// SLAYER_HOST_DRIVER makes it another machine: a list such as "version=11080,devices=0,major=7,memory=1000000,shared=101376". With illegal=N
// the process's launch number N ends as on a GPU a kernel does that writes beyond its memory; with allocations=N there is no memory after N;
// with image=N kernels do not load, with function=N none when it is asked for, with init=N the driver does not start, with error N.
#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "executor.h"
#include "streams.h"
#include "tensor_map.h"

#define SLAYER_API extern "C" __attribute__((visibility("default"))) int

namespace {

using namespace slayer::host;

constexpr int kInvalidValue = 1, kOutOfMemory = 2, kNoDevice = 100, kInvalidImage = 200, kNoBinaryForGpu = 209, kUnsupportedPtxVersion = 222,
              kNotFound = 500, kIllegalAddress = 700, kLaunchFailed = 719, kNotSupported = 801, kDriverMismatch = 803;

// What outlives a call is never destroyed: a process may exit while another thread is in one.
std::recursive_mutex& mutex = *new std::recursive_mutex;
std::string& failure = *new std::string;  // of a kernel, for good
int failed = 0;
long launches = 0;
long allocations = 0;

using Work = std::function<void()>;

}  // namespace

struct slayer::host::Stream {
  std::deque<Work> queue;
  uint64_t queued = 0;
  uint64_t done = 0;
  std::vector<Work>* capture = nullptr;

  void push(Work work) {
    if (capture != nullptr) {
      capture->push_back(std::move(work));
      return;
    }
    queue.push_back(std::move(work));
    queued++;
  }
  void run_until(uint64_t target) {
    while (done < target) {
      const Work work = std::move(queue.front());
      queue.pop_front();
      done++;
      if (failed == 0) work();
    }
  }
};

namespace {

struct Event {
  Stream* stream = nullptr;
  uint64_t target = 0;
};

std::set<Stream*>& streams = *new std::set<Stream*>;
Stream& null_stream = *new Stream;
std::map<uint64_t, size_t>& memory = *new std::map<uint64_t, size_t>;
size_t used = 0;
bool backwards = false;

long setting(const char* name, long otherwise) {
  const char* const text = std::getenv("SLAYER_HOST_DRIVER");
  const char* const at = text == nullptr ? nullptr : std::strstr(text, (std::string(name) + "=").c_str());
  return at == nullptr ? otherwise : std::strtol(at + std::strlen(name) + 1, nullptr, 10);
}

// Dynamic shared memory of a block: that a kernel may ask for, and that it has been granted.
size_t most_shared() { return static_cast<size_t>(setting("shared", SharedMemory::kMost)); }
std::map<const Registration*, size_t>& granted = *new std::map<const Registration*, size_t>;
constexpr size_t kWithoutAsking = 48 << 10;

Stream& of(Stream* stream) { return stream == nullptr ? null_stream : *stream; }

int status() { return failed; }

void fail(int error, const char* why) {
  failed = error;
  failure = why;
}

// Work that others may see at once.
void drain_all() {
  for (Stream* stream : streams) stream->run_until(stream->queued);
  null_stream.run_until(null_stream.queued);
}

}  // namespace

void slayer::host::push(Stream* stream, Work work) {
  const std::lock_guard lock(mutex);
  of(stream).push(std::move(work));
}

SLAYER_API cuInit(unsigned) { return setting("devices", 1) > 0 ? static_cast<int>(setting("init", 0)) : kNoDevice; }
SLAYER_API cuDriverGetVersion(int* version) { return *version = static_cast<int>(setting("version", 13000)), 0; }
SLAYER_API cuGetErrorName(int error, const char** name) {
  static const auto& names = *new std::map<int, const char*>{{kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
                                                   {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                   {kNoDevice, "CUDA_ERROR_NO_DEVICE"},
                                                   {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE"},
                                                   {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                   {kUnsupportedPtxVersion, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
                                                   {kNotFound, "CUDA_ERROR_NOT_FOUND"},
                                                   {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                                   {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"},
                                                   {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED"},
                                                   {kDriverMismatch, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}};
  const auto found = names.find(error);
  *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second;
  return 0;
}
SLAYER_API cuGetErrorString(int error, const char** text) {
  *text = error != 0 && error == failed ? failure.c_str() : "as the host's driver says";
  return 0;
}
SLAYER_API cuDeviceGetCount(int* count) { return *count = static_cast<int>(setting("devices", 1)), 0; }
SLAYER_API cuDeviceGet(int* device, int index) { return *device = index, 0; }
SLAYER_API cuDeviceGetName(char* name, int length, int) {
  std::strncpy(name, "host executor", static_cast<size_t>(length));
  return 0;
}
SLAYER_API cuDeviceGetAttribute(int* value, int attribute, int) {
  constexpr int kMultiprocessors = 16, kMajor = 75, kMostShared = 97;
  if (attribute == kMajor) *value = static_cast<int>(setting("major", 8));
  else if (attribute == kMultiprocessors) *value = 4;
  else if (attribute == kMostShared) *value = static_cast<int>(most_shared());
  else *value = 0;
  return 0;
}
SLAYER_API cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = static_cast<size_t>(setting("memory", 1L << 32));
  return 0;
}
SLAYER_API cuDevicePrimaryCtxRetain(void** context, int) { return *context = &memory, 0; }
SLAYER_API cuDevicePrimaryCtxRelease_v2(int) { return 0; }
SLAYER_API cuCtxSetCurrent(void*) { return 0; }

SLAYER_API cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  const std::lock_guard lock(mutex);
  if (failed != 0) return failed;
  size_t total = 0;
  cuDeviceTotalMem_v2(&total, 0);
  const size_t rounded = (bytes + 255) / 256 * 256;
  const bool allowed = allocations++ < setting("allocations", LONG_MAX) && rounded <= total - used;
  void* const piece = allowed ? std::aligned_alloc(256, rounded) : nullptr;
  if (piece == nullptr) return kOutOfMemory;
  std::memset(piece, 0xff, rounded);
  *address = reinterpret_cast<uint64_t>(piece);
  memory[*address] = rounded;
  used += rounded;
  return 0;
}
SLAYER_API cuMemFree_v2(uint64_t address) {
  const std::lock_guard lock(mutex);
  drain_all();
  const auto found = memory.find(address);
  if (found == memory.end()) return kInvalidValue;
  used -= found->second;
  memory.erase(found);
  std::free(reinterpret_cast<void*>(address));
  return status();
}
SLAYER_API cuMemGetInfo_v2(size_t* free, size_t* total) {
  cuDeviceTotalMem_v2(total, 0);
  *free = *total - used;
  return status();
}
SLAYER_API cuMemAllocHost_v2(void** piece, size_t bytes) {
  *piece = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *piece == nullptr ? kOutOfMemory : 0;
}
SLAYER_API cuMemFreeHost(void* piece) { return std::free(piece), 0; }
SLAYER_API cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, Stream* stream) {
  const std::lock_guard lock(mutex);
  of(stream).push([=] { std::memset(reinterpret_cast<void*>(address), value, bytes); });
  return status();
}
SLAYER_API cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* stream) {
  const std::lock_guard lock(mutex);
  of(stream).push([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
  return status();
}
SLAYER_API cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
  const std::lock_guard lock(mutex);
  of(stream).push([=] { std::memcpy(to, reinterpret_cast<void*>(from), bytes); });
  return status();
}

SLAYER_API cuStreamCreate(Stream** stream, unsigned) {
  const std::lock_guard lock(mutex);
  streams.insert(*stream = new Stream);
  return status();
}
SLAYER_API cuStreamDestroy_v2(Stream* stream) {
  const std::lock_guard lock(mutex);
  stream->run_until(stream->queued);
  streams.erase(stream);
  delete stream;
  return status();
}
SLAYER_API cuStreamSynchronize(Stream* stream) {
  const std::lock_guard lock(mutex);
  of(stream).run_until(of(stream).queued);
  return status();
}
SLAYER_API cuStreamBeginCapture_v2(Stream* stream, int) {
  const std::lock_guard lock(mutex);
  of(stream).capture = new std::vector<Work>;
  return status();
}
SLAYER_API cuStreamEndCapture(Stream* stream, std::vector<Work>** graph) {
  const std::lock_guard lock(mutex);
  *graph = std::exchange(of(stream).capture, nullptr);
  return status();
}
SLAYER_API cuGraphInstantiateWithFlags(std::vector<Work>** executable, const std::vector<Work>* graph, uint64_t) {
  *executable = new std::vector<Work>(*graph);
  return status();
}
SLAYER_API cuGraphLaunch(const std::vector<Work>* executable, Stream* stream) {
  const std::lock_guard lock(mutex);
  of(stream).push([executable] {
    for (const Work& work : *executable) {
      if (failed == 0) work();
    }
  });
  return status();
}
SLAYER_API cuGraphDestroy(std::vector<Work>* graph) { return delete graph, 0; }
SLAYER_API cuGraphExecDestroy(std::vector<Work>* executable) {
  const std::lock_guard lock(mutex);
  drain_all();
  delete executable;
  return 0;
}
SLAYER_API cuEventCreate(Event** event, unsigned) { return *event = new Event, 0; }
SLAYER_API cuEventRecord(Event* event, Stream* stream) {
  const std::lock_guard lock(mutex);
  *event = {&of(stream), of(stream).queued};
  return status();
}
SLAYER_API cuEventSynchronize(Event* event) {
  const std::lock_guard lock(mutex);
  if (event->stream != nullptr) event->stream->run_until(event->target);
  return status();
}
SLAYER_API cuEventDestroy_v2(Event* event) { return delete event, 0; }

// Of NVIDIA's conditions those for what it has: bf16, up to three dimensions, rows of a box 128 bytes, swizzled.
SLAYER_API cuTensorMapEncodeTiled(uint64_t* map, int type, unsigned rank, void* data, const uint64_t* extents, const uint64_t* strides,
                                  const unsigned* box, const unsigned* element_strides, int interleave, int swizzle, int promotion, int fill) {
  constexpr int kBf16 = 9, kSwizzle128 = 3, kMostPromotion = 3;
  if (map == nullptr || reinterpret_cast<uintptr_t>(map) % 64 != 0 || data == nullptr || reinterpret_cast<uintptr_t>(data) % 16 != 0 ||
      rank < 1 || rank > 5 || promotion < 0 || promotion > kMostPromotion) {
    return kInvalidValue;
  }
  for (unsigned i = 0; i < rank; i++) {
    if (extents[i] == 0 || extents[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 || element_strides[i] == 0 || element_strides[i] > 8) {
      return kInvalidValue;
    }
    if (i + 1 < rank && (strides[i] % 16 != 0 || strides[i] >= uint64_t{1} << 40 || strides[i] < extents[0] * 2)) return kInvalidValue;
  }
  if (box[0] * 2 % 16 != 0 || (swizzle == kSwizzle128 && box[0] * 2 > 128)) return kInvalidValue;
  if (type != kBf16 || rank > TiledTensor::kMost || interleave != 0 || swizzle != kSwizzle128 || fill != 0 || box[0] * 2 != 128) return kNotSupported;
  TiledTensor tensor{static_cast<const std::byte*>(data), static_cast<int>(rank), {1, 1, 1}, {2, 0, 0}, {1, 1, 1}};
  for (unsigned i = 0; i < rank; i++) {
    if (element_strides[i] != 1) return kNotSupported;
    tensor.extent[i] = static_cast<int64_t>(extents[i]);
    tensor.box[i] = static_cast<int>(box[i]);
    if (i > 0) tensor.stride[i] = static_cast<int64_t>(strides[i - 1]);
  }
  return encode(tensor, map), 0;
}

// Its kernels are here already. What begins with "9.0 alone" is for that device and no other.
SLAYER_API cuModuleLoadData(void** module, const void* image) {
  *module = &streams;
  if (std::strncmp(static_cast<const char*>(image), "9.0 alone", 9) == 0 && setting("major", 8) != 9) return kNoBinaryForGpu;
  return failed != 0 ? failed : static_cast<int>(setting("image", 0));
}
SLAYER_API cuModuleUnload(void*) { return 0; }
SLAYER_API cuModuleGetFunction(const Registration** function, void*, const char* name) {
  *function = find_kernel(name);
  return *function == nullptr ? kNotFound : static_cast<int>(setting("function", 0));
}
SLAYER_API cuFuncGetAttribute(int* value, int, const Registration*) { return *value = 0, 0; }
SLAYER_API cuFuncSetAttribute(const Registration* kernel, int, int bytes) {
  const std::lock_guard lock(mutex);
  if (static_cast<size_t>(bytes) > most_shared()) return kInvalidValue;
  granted[kernel] = static_cast<size_t>(bytes);
  return 0;
}
SLAYER_API cuLaunchKernel(const Registration* kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream* stream, void** arguments, void**) {
  const std::lock_guard lock(mutex);
  if (shared_bytes > std::max(kWithoutAsking, granted[kernel])) return kInvalidValue;
  // As NVIDIA's, it takes the arguments by value now.
  struct alignas(64) Piece {
    std::byte bytes[64];
  };
  const auto held = std::make_shared<std::vector<Piece>>((kernel->args_bytes + sizeof(Piece) - 1) / sizeof(Piece));
  std::memcpy(static_cast<void*>(held->data()), arguments[0], kernel->args_bytes);
  of(stream).push([=] {
    if (++launches == setting("illegal", 0)) return fail(kIllegalAddress, "an illegal memory access was encountered");
    try {
      executor().launch(kernel->name, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, held->data(),
                        kernel->args_bytes, backwards);
    } catch (const LaunchError& error) {
      fail(kLaunchFailed, error.what());
    }
    backwards = !backwards;
  });
  return status();
}
