// The jobs of a Session: submitted by JavaScript, done on a thread of their own, reported from the event loop.
#pragma once

#include <napi.h>

#include <map>
#include <memory>

#include "read_plan.h"
#include "runner.h"

namespace slayer {

// Throws it in JavaScript, as an Error whose `code` is the error's.
[[noreturn]] void throw_coded(Napi::Env env, const CodedError& error);

// Main thread only.
class Jobs {
 public:
  // `enter` as Runner takes it. Throws an Error if there is no thread to be had.
  Jobs(Napi::Env env, std::function<void()> enter);
  ~Jobs() { close(); }
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // Queues a job and returns its number. done(outcome: "done" | "cancelled" | "failed", message, code) comes later, from the event loop.
  // Until then `blocks` are not released and `held` (the session, an array that is read or filled) are not collected. Throws an Error
  // if a block was freed, or after close().
  Napi::Value submit(Napi::Env env, decltype(Job::work) work, Blocks blocks, Napi::Function done,
                     std::initializer_list<Napi::Object> held);
  // The job ends early, if it has not ended yet.
  void cancel(uint32_t id);
  // Joins the thread. Jobs that have not been reported never are.
  void close();

 private:
  // A job that has been submitted and not reported yet.
  struct Pending {
    std::shared_ptr<Job> job;
    Blocks blocks;
    Napi::FunctionReference done;
    std::vector<Napi::ObjectReference> held;
  };

  static void deliver(Napi::Env env, Napi::Function, Jobs* jobs, Job* job);
  void finish(Napi::Env env, Job* job);
  static void end_with_environment(void* jobs);

  using Queue = Napi::TypedThreadSafeFunction<Jobs, Job, deliver>;

  Napi::Env env_;
  std::unique_ptr<Runner> runner_;
  Queue queue_;  // from the runner's thread to the event loop, which it keeps alive while jobs are pending
  std::map<uint32_t, Pending> pending_;
  uint32_t next_id_ = 0;
};

}  // namespace slayer
