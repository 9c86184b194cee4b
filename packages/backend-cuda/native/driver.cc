#include "driver.h"

#include <dlfcn.h>

#include <cstdlib>

namespace slayer::cuda {

namespace {

constexpr int kOldestVersion = 12000;

Driver load() {
  // Tests name the one that runs kernels on the host (kernels/cuda-host/driver.cc).
  const char* const other = std::getenv("SLAYER_CUDA_DRIVER");
  void* const library = dlopen(other == nullptr ? "libcuda.so.1" : other, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const why = dlerror();
    throw DeviceError("no-driver", std::string("there is no NVIDIA driver: ") + (why == nullptr ? "libcuda.so.1" : why) +
                                       "; install NVIDIA's driver for this GPU (in a container: its CUDA runtime hook)");
  }
  Driver driver;
  const char* missing = nullptr;
#define X(name, symbol, ...)                                                                  \
  driver.name = reinterpret_cast<CUresult (*)(__VA_ARGS__)>(dlsym(library, symbol));          \
  if (driver.name == nullptr && missing == nullptr) missing = symbol;
  SLAYER_DRIVER(X)
#undef X
  driver.cuTensorMapEncodeTiled = reinterpret_cast<decltype(driver.cuTensorMapEncodeTiled)>(dlsym(library, "cuTensorMapEncodeTiled"));
  if (missing != nullptr) {
    throw DeviceError("old-driver", std::string("the NVIDIA driver is too old: it has no ") + missing + "; version 525 (CUDA 12.0) or a "
                                    "later one is needed");
  }
  const CUresult result = driver.cuInit(0);
  if (result == kNoDevice) throw DeviceError("no-device", "the NVIDIA driver finds no GPU (see nvidia-smi)");
  if (result != kSuccess) {
    throw DeviceError("no-driver", "the NVIDIA driver does not start: " + driver.describe(result) + " (see nvidia-smi)");
  }
  const int version = driver.version();
  if (version < kOldestVersion) {
    throw DeviceError("old-driver", "the NVIDIA driver is for CUDA " + version_text(version) + "; one for CUDA " +
                                        version_text(kOldestVersion) + " (version 525) or later is needed");
  }
  return driver;
}

}  // namespace

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

int Driver::version() const {
  int version = 0;
  cuDriverGetVersion(&version);
  return version;
}

std::string Driver::describe(CUresult result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &text);
  return std::string(name == nullptr ? "unknown error " + std::to_string(result) : name) + (text == nullptr ? "" : ": ") +
         (text == nullptr ? "" : text);
}

const Driver& driver() {
  static const Driver loaded = load();
  return loaded;
}

}  // namespace slayer::cuda
