// `new Session(device, kernels)` of the addon: one device, and the thread that works on it.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <vector>

#include "plan.h"
#include "runner.h"

namespace slayer::cuda {

// Throws it in JavaScript, as an Error whose `code` is the error's.
[[noreturn]] void throw_device_error(Napi::Env env, const DeviceError& error);

class Session : public Napi::ObjectWrap<Session> {
 public:
  static Napi::Function define(Napi::Env env);

  // Throws an Error with a `code` if the device cannot be used.
  explicit Session(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override { shut(env); }

  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  using Executable = Napi::External<std::shared_ptr<BoundPlan>>;
  using Blocks = std::vector<std::shared_ptr<Block>>;

  // A job that has been submitted and not reported yet; main thread only.
  struct Pending {
    std::shared_ptr<Job> job;
    Blocks blocks;
    Napi::FunctionReference done;
    Napi::ObjectReference held;  // the array that a copy reads or fills
  };

  // describe(): {name, totalBytes}
  Napi::Value describe(const Napi::CallbackInfo& info);
  // supports(step): "" or why there is no kernel for it.
  Napi::Value supports(const Napi::CallbackInfo& info);
  // prepare(steps, buffers): executable; see read_plan.h.
  Napi::Value prepare(const Napi::CallbackInfo& info);
  // run(executable, done), write(buffer, offset, bytes, done), read(buffer, offset, bytes, done): id. done(outcome: "done" |
  // "cancelled" | "failed", message) comes later, from the event loop.
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  // cancel(id): the job ends early, if it has not ended yet.
  void cancel(const Napi::CallbackInfo& info);
  // close(): joins the thread. Jobs that have not been reported never are.
  void close(const Napi::CallbackInfo& info);

  Napi::Value submit(Napi::Env env, std::function<Job::Outcome(const std::atomic<bool>&)> work, Blocks blocks, Napi::Function done,
                     Napi::Object held);
  Napi::Value copy(const Napi::CallbackInfo& info, bool to_device);
  static void deliver(Napi::Env env, Napi::Function, Session* session, Job* job);
  void finish(Napi::Env env, Job* job);
  static void end_with_environment(void* session);
  void shut(Napi::Env env);

  using Queue = Napi::TypedThreadSafeFunction<Session, Job, deliver>;

  std::shared_ptr<Device> device_;
  std::unique_ptr<Runner> runner_;
  Queue queue_;  // from the runner's thread to the event loop, which it keeps alive while jobs are pending
  std::map<uint32_t, Pending> pending_;
  uint32_t next_id_ = 0;
};

}  // namespace slayer::cuda
