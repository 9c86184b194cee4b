// A thread that does one job after the other on a device: runs of plans, and copies, in the order in which they are submitted.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "device.h"

namespace slayer::cuda {

struct Job {
  enum class Outcome { done, cancelled, failed };

  uint32_t id = 0;
  // Done on the runner's thread; what it throws makes the job "failed".
  std::function<Outcome(const std::atomic<bool>& cancelled)> work;
  std::atomic<bool> cancelled{false};
  Outcome outcome = Outcome::done;
  std::string message;  // of a failure
};

class Runner {
 public:
  // `finished` is called on the runner's thread after each job; whoever submitted it keeps it alive until then. Throws
  // std::system_error if there is no thread to be had.
  Runner(std::shared_ptr<Device> device, std::function<void(Job*)> finished);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void submit(std::shared_ptr<Job> job);
  // Cancels the job in progress, drops what waits, and joins the thread. Dropped jobs are never finished.
  void stop();

 private:
  void loop();

  std::shared_ptr<Device> device_;
  std::function<void(Job*)> finished_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::shared_ptr<Job> current_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace slayer::cuda
