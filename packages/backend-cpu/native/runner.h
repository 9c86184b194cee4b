// A thread that runs plans one after the other, with the pool's other threads to help it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "plan.h"
#include "thread_pool.h"

namespace slayer {

struct Job {
  enum class Outcome { done, cancelled, failed };

  uint32_t id = 0;
  std::shared_ptr<const BoundPlan> plan;
  std::atomic<bool> cancelled{false};  // looked at before each step
  Outcome outcome = Outcome::done;
  std::string message;  // of a failure: which step, and what the kernel says
};

class Runner {
 public:
  // `finished` is called on the runner's thread after each job; whoever submitted it keeps it alive until then.
  Runner(int threads, std::function<void(Job*)> finished);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void submit(std::shared_ptr<Job> job);
  // Ends the step in progress, drops what waits, and joins all threads. Dropped jobs are never finished.
  void stop();

 private:
  void loop();
  void execute(Job& job);

  ThreadPool pool_;
  std::function<void(Job*)> finished_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace slayer
