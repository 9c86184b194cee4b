// A thread that does one job after the other, in the order in which they are submitted.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace slayer {

// An error that programs tell apart by its code.
class CodedError : public std::runtime_error {
 public:
  CodedError(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;
};

struct Job {
  enum class Outcome { done, cancelled, failed };

  uint32_t id = 0;
  // Done on the runner's thread; what it throws makes the job "failed". It returns early once `cancelled` is set.
  std::function<Outcome(const std::atomic<bool>& cancelled)> work;
  std::atomic<bool> cancelled{false};
  Outcome outcome = Outcome::done;
  std::string message;    // of a failure
  const char* code = "";  // of a failure that has one
};

class Runner {
 public:
  // `enter` is called on the thread before its first job; what it throws makes every job fail. `finished` is called there after
  // each job; whoever submitted it keeps it alive until then. Throws std::system_error if there is no thread to be had.
  Runner(std::function<void()> enter, std::function<void(Job*)> finished);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void submit(std::shared_ptr<Job> job);

 private:
  void loop(const std::function<void()>& enter);

  std::function<void(Job*)> finished_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::shared_ptr<Job> current_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace slayer
