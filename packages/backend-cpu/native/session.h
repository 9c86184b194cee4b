// `new Session(isa, threads)` of the addon: one instruction set's kernels and the threads to run them on.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "../../../native/jobs.h"
#include "plan.h"
#include "tables.h"
#include "thread_pool.h"

namespace slayer {

class Session : public Napi::ObjectWrap<Session> {
 public:
  static Napi::Function define(Napi::Env env);

  // Throws an Error if the instruction set is not there or no more threads are to be had.
  explicit Session(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env) override {
    if (jobs_) jobs_->close();
  }

 private:
  using Executable = Napi::External<std::shared_ptr<const BoundPlan>>;

  // prepare(steps, buffers): executable; see native/read_plan.h.
  Napi::Value prepare(const Napi::CallbackInfo& info);
  // run(executable, done): id; see native/jobs.h.
  Napi::Value run(const Napi::CallbackInfo& info);
  // cancel(id): the job ends before its next step, if it has not ended yet.
  void cancel(const Napi::CallbackInfo& info);
  // close(): joins the threads. Jobs that have not been reported never are.
  void close(const Napi::CallbackInfo& info);

  Isa isa_;
  ThreadPool* pool_ = nullptr;  // of the jobs' thread, with which it ends
  std::optional<Jobs> jobs_;
};

}  // namespace slayer
