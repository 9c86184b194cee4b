// `new Session(device, kernels)` of the addon: one device, and the thread that works on it.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "../../../native/jobs.h"
#include "lower/lowering.h"
#include "plan.h"

namespace slayer::cuda {

class Session : public Napi::ObjectWrap<Session> {
 public:
  static Napi::Function define(Napi::Env env);

  // Throws an Error with a `code` if the device cannot be used.
  explicit Session(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env) override {
    if (jobs_) jobs_->close();
  }

  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  using Executable = Napi::External<std::shared_ptr<BoundPlan>>;

  // describe(): {name, totalBytes, build, multiprocessors}; build names the driver and the compiled kernels.
  Napi::Value describe(const Napi::CallbackInfo& info);
  // freeBytes(): of the device's memory, now.
  Napi::Value free_bytes(const Napi::CallbackInfo& info);
  // supports(step): "" or why there is no kernel for it.
  Napi::Value supports(const Napi::CallbackInfo& info);
  // products(steps): [{name, m, n, k, transposeA, transposeB, f32, variants}], those for which there is a choice.
  Napi::Value products(const Napi::CallbackInfo& info);
  // workspaceBytes(steps): what a plan of these needs beside its operands; plans of a session share it.
  Napi::Value workspace_bytes(const Napi::CallbackInfo& info);
  // prefer(name, variant): for what is prepared later.
  void prefer(const Napi::CallbackInfo& info);
  // prepare(steps, buffers): executable; see native/read_plan.h.
  Napi::Value prepare(const Napi::CallbackInfo& info);
  // chains(blocks, rounds): executable, of multiply-adds alone (kernels/cuda/peak_fma.cu), to learn what the device computes at most.
  Napi::Value chains(const Napi::CallbackInfo& info);
  // run(executable, done), write(buffer, offset, bytes, done), read(buffer, offset, bytes, done): id; see native/jobs.h.
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  // cancel(id): the job ends early, if it has not ended yet.
  void cancel(const Napi::CallbackInfo& info);
  // close(): joins the thread. Jobs that have not been reported never are.
  void close(const Napi::CallbackInfo& info);

  static Napi::Value executable(Napi::Env env, std::shared_ptr<BoundPlan> plan);
  Limits limits() const;
  // The lowering of steps without memory, to learn from.
  Lowering rehearse(const Limits& limits, const Choices& choices, Napi::Array steps) const;
  Napi::Value copy(const Napi::CallbackInfo& info, bool to_device);

  std::shared_ptr<Device> device_;
  Choices choices_;
  std::shared_ptr<DeviceBlock> workspace_;  // the largest so far
  std::optional<Jobs> jobs_;
};

}  // namespace slayer::cuda
