// `new Session(isa, threads)` of the addon: one instruction set's kernels and the threads to run them on.
#pragma once

#include <napi.h>

#include <map>
#include <memory>

#include "runner.h"
#include "tables.h"

namespace slayer {

class Session : public Napi::ObjectWrap<Session> {
 public:
  static Napi::Function define(Napi::Env env);

  // Throws an Error if the instruction set is not there or no more threads are to be had.
  explicit Session(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override { shut(env); }

 private:
  using Executable = Napi::External<std::shared_ptr<const BoundPlan>>;

  // A job that has been submitted and not reported yet; main thread only.
  struct Pending {
    std::shared_ptr<Job> job;
    Napi::FunctionReference done;
  };

  // prepare(steps, buffers): executable; see read_plan.h.
  Napi::Value prepare(const Napi::CallbackInfo& info);
  // run(executable, done): id; done(outcome: "done" | "cancelled" | "failed", message) comes later, from the event loop.
  Napi::Value run(const Napi::CallbackInfo& info);
  // cancel(id): the job ends before its next step, if it has not ended yet.
  void cancel(const Napi::CallbackInfo& info);
  // close(): joins the threads. Jobs that have not been reported never are.
  void close(const Napi::CallbackInfo& info);

  static void deliver(Napi::Env env, Napi::Function, Session* session, Job* job);
  void finish(Napi::Env env, Job* job);
  static void end_with_environment(void* session);
  void shut(Napi::Env env);

  using Queue = Napi::TypedThreadSafeFunction<Session, Job, deliver>;

  Isa isa_;
  std::unique_ptr<Runner> runner_;
  Queue queue_;  // from the runner's thread to the event loop, which it keeps alive while jobs are pending
  std::map<uint32_t, Pending> pending_;
  uint32_t next_id_ = 0;
};

}  // namespace slayer
