#include "modules.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "nvrtc.h"

namespace slayer::cuda {

namespace {

constexpr size_t kWithoutAsking = 48 << 10;  // dynamic shared memory that every kernel may have

// The CUDA that compiled the kernels of this folder (native/kernels.mjs writes it down), e.g. 13000; 0 if nobody says.
int compiler_of(const std::string& folder) {
  int major = 0;
  int minor = 0;
  char point = 0;
  std::ifstream stream(folder + "/cuda-version");
  return stream >> major >> point >> minor ? major * 1000 + minor * 10 : 0;
}

// Whether the driver does not take what was compiled. It may say so only when a kernel is asked for.
bool refused(CUresult result) {
  return result == kInvalidImage || result == kNoBinaryForGpu || result == kInvalidPtx || result == kUnsupportedPtxVersion;
}

}  // namespace

DeviceError Modules::unloadable(CUresult result, const std::string& name) const {
  const std::string what = name + ": " + driver().describe(result);
  if (result == kOutOfMemory) return {"out-of-memory", "no memory for the kernels: " + what};
  if (result == kUnsupportedPtxVersion || (refused(result) && driver().version() < compiler_)) {
    std::string package = "cuda-compat-" + version_text(compiler_);
    std::replace(package.begin(), package.end(), '.', '-');
    const std::string newer = compiler_ == 0 ? "install a newer one" : "install one for CUDA " + version_text(compiler_) + " or later, or NVIDIA's package " + package;
    return {"old-driver", "the NVIDIA driver, for CUDA " + version_text(driver().version()) + ", is older than the kernels for " + device_ + "; " +
                              newer + ", or build the kernels with an older nvcc (" + what + ")"};
  }
  if (result == kNoBinaryForGpu || result == kInvalidPtx) {
    return {"wrong-architecture", "there are no kernels for " + device_ + ": they need compute capability 8.0 or later (" + what + ")"};
  }
  return {"no-kernels", "the kernels do not load: " + what};
}

void Modules::load(const std::string& folder, const std::string& device, const std::string& architecture) {
  sources_ = folder + "/src";
  architecture_ = architecture;
  device_ = device;
  compiler_ = compiler_of(folder);
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const bool hopper_only = entry.path().stem().string().ends_with("_wgmma");
    if (entry.path().extension() == ".fatbin" && (!hopper_only || architecture == "sm_90a")) files.push_back(entry.path());
  }
  if (files.empty()) {
    throw DeviceError("no-kernels", "there are no compiled kernels in " + folder +
                                        "; in a clone of the repository run `pnpm build:kernels` (it needs nvcc)");
  }
  std::sort(files.begin(), files.end());
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    const std::string image{std::istreambuf_iterator<char>(stream), {}};
    if (!stream || image.empty()) throw DeviceError("no-kernels", "cannot read " + file.string());
    for (const char byte : image) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    CUmodule module = nullptr;
    const CUresult result = driver().cuModuleLoadData(&module, image.data());
    if (result != kSuccess) throw unloadable(result, file.filename().string());
    modules_.push_back(module);
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  digest_ = text;
}

void Modules::unload() {
  for (CUmodule module : modules_) driver().cuModuleUnload(module);
  modules_.clear();
  functions_.clear();
}

CUfunction Modules::lookup(const std::string& kernel) const {
  for (CUmodule module : modules_) {
    CUfunction function = nullptr;
    const CUresult result = driver().cuModuleGetFunction(&function, module, kernel.c_str());
    if (result == kSuccess) return function;
    if (refused(result)) throw unloadable(result, kernel);
    if (result != kNotFound) throw DeviceError("device", kernel + ": " + driver().describe(result));
  }
  return nullptr;
}

bool Modules::can_compile() const { return std::filesystem::exists(sources_) && has_nvrtc(); }

CUfunction Modules::find(const std::string& kernel, size_t shared_bytes) {
  CUfunction& function = functions_[kernel];
  if (function == nullptr) function = lookup(kernel);
  if (function == nullptr && can_compile()) {
    const std::string cubin = compile_kernel(kernel, architecture_, sources_);
    CUmodule module = nullptr;
    if (!cubin.empty()) {
      const CUresult result = driver().cuModuleLoadData(&module, cubin.data());
      if (result != kSuccess) throw DeviceError("no-kernels", kernel + ", compiled here, does not load: " + driver().describe(result));
      modules_.push_back(module);
      function = lookup(kernel);
    }
  }
  // Asking for an attribute loads what the driver would otherwise load at the first launch, perhaps in the middle of a capture.
  int registers = 0;
  if (function != nullptr && loaded_.insert(function).second) {
    const CUresult result = driver().cuFuncGetAttribute(&registers, kRegisters, function);
    if (refused(result)) throw unloadable(result, kernel);
  }
  if (function == nullptr) {
    throw DeviceError("no-kernels", "the compiled kernels lack " + kernel + "; run `pnpm build:kernels` again");
  }
  size_t& allowed = allowed_[kernel];
  if (shared_bytes > std::max(allowed, kWithoutAsking)) {
    const CUresult result = driver().cuFuncSetAttribute(function, kMostDynamicShared, static_cast<int>(shared_bytes));
    if (result != kSuccess) {
      throw DeviceError("wrong-architecture", kernel + " needs " + std::to_string(shared_bytes) +
                                                  " bytes of shared memory, which this device does not have: " +
                                                  driver().describe(result));
    }
    allowed = shared_bytes;
  }
  return function;
}

}  // namespace slayer::cuda
