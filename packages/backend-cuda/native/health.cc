#include "health.h"

#include <map>

namespace slayer::cuda {

Health& Health::of(CUdevice device) {
  // Never destroyed: a process may exit while a thread is at work.
  static std::mutex& mutex = *new std::mutex;
  static auto& all = *new std::map<CUdevice, Health>;
  const std::lock_guard lock(mutex);
  return all[device];
}

void Health::require_sound() {
  const std::lock_guard lock(mutex_);
  require_sound_locked();
}

void Health::require_sound_locked() const {
  if (!cause_.empty()) throw DeviceError("lost", "the GPU can no longer be used by this process, since " + cause_);
}

void Health::fail(CUresult result, const std::string& what, CUstream stream, Culprit culprit) {
  if (culprit == Culprit::unknown) require_sound();
  std::string message = what + ": " + driver().describe(result);
  if (stream == nullptr || driver().cuStreamSynchronize(stream) == kSuccess) {
    throw DeviceError(result == kOutOfMemory ? "out-of-memory" : "device", message);
  }
  const std::lock_guard lock(mutex_);
  if (culprit == Culprit::unknown) {
    require_sound_locked();  // since then whoever ran the kernel may have said so
    message += " (if it is of a run under way, the run names the kernel)";
  }
  cause_ = message;
  throw DeviceError("lost", message + "; the GPU can no longer be used by this process");
}

}  // namespace slayer::cuda
