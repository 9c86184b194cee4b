// Whether a device can still be used. A kernel that fails leaves its context unusable, and a process has one context per device: "any
// further CUDA work will return the same error; to continue using CUDA, the process must be terminated and relaunched" (NVIDIA, CUDA Driver
// API, CUresult, of CUDA_ERROR_ILLEGAL_ADDRESS and its like). What failed is known once; it is kept to be said again.
#pragma once

#include <mutex>
#include <string>

#include "driver.h"

namespace slayer::cuda {

class Health {
 public:
  // Of all that use this device in the process.
  static Health& of(CUdevice device);

  // Throws a DeviceError "lost" that tells the cause, once the device cannot be used any more.
  void require_sound();
  // Throws a DeviceError: "out-of-memory"; "lost" if `stream` cannot be used any more either; "device" if it can. Whoever asks the driver
  // for anything may be told of a kernel that failed; which one is said, and kept as the cause, by whoever ran it and waits for it.
  enum class Culprit { unknown, known };
  [[noreturn]] void fail(CUresult result, const std::string& what, CUstream stream, Culprit culprit = Culprit::unknown);
  void check(CUresult result, const char* what, CUstream stream) {
    if (result != kSuccess) fail(result, what, stream);
  }

 private:
  void require_sound_locked() const;

  std::mutex mutex_;
  std::string cause_;  // empty: sound
};

}  // namespace slayer::cuda
