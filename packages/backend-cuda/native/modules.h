// The kernels compiled for GPUs: a folder of fatbins (native/kernels.mjs), loaded when a kernel of theirs is first asked for.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "driver.h"

namespace slayer::cuda {

class Modules {
 public:
  Modules() = default;
  ~Modules() { unload(); }
  Modules(const Modules&) = delete;
  Modules& operator=(const Modules&) = delete;

  // Loads every file of the folder into the current context. `device` for messages, e.g. "NVIDIA H100 (compute capability 9.0)".
  // Throws a DeviceError if there is none, or none that this device can run.
  void load(const std::string& folder, const std::string& device, const std::string& architecture);
  void unload();
  // Differs, in all likelihood, for other files.
  const std::string& digest() const { return digest_; }

  // With room for that much dynamic shared memory. Throws a DeviceError if there is no such kernel.
  // What was not shipped is compiled where that is possible.
  CUfunction find(const std::string& kernel, size_t shared_bytes);
  bool has(const std::string& kernel) const { return lookup(kernel) != nullptr; }
  bool can_compile() const;

 private:
  CUfunction lookup(const std::string& kernel) const;
  // Why a file or a kernel does not load.
  DeviceError unloadable(CUresult result, const std::string& name) const;

  std::string sources_;  // folder
  std::string architecture_;
  std::string device_;
  int compiler_ = 0;  // as Driver::version(), of the CUDA that compiled the kernels; 0 if nobody says
  std::string digest_;
  std::vector<CUmodule> modules_;
  std::map<std::string, CUfunction> functions_;
  std::set<CUfunction> loaded_;
  std::map<std::string, size_t> allowed_;  // dynamic shared memory that was asked for, where more than 48 KiB
};

}  // namespace slayer::cuda
