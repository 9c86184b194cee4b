// Threads that share out the tasks of one kernel at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "../../../kernels/cpu/kernel.h"
#include "memory.h"

namespace slayer {

// The thread that calls run() is thread 0 and takes part; the pool starts the others, which sleep between plans.
class ThreadPool final : public Pool {
 public:
  // Throws std::system_error if the system gives no more threads.
  explicit ThreadPool(int threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }
  // If tasks throw, the exception of the first of them (by number) is thrown here once no task runs any more.
  void run(int64_t n, TaskRef task) override;
  void* scratch(int thread, int slot, size_t bytes) override;

 private:
  void work(int thread);
  void claim(int thread);
  void stop();

  struct Work {
    int64_t count;
    TaskRef task;
  };

  std::optional<Work> work_;             // written while closed and nobody is inside
  std::atomic<int64_t> next_{0};         // the next task that nobody has claimed
  std::atomic<bool> open_{false};        // whether workers may claim tasks
  std::atomic<int> inside_{0};           // workers that may be looking at work_
  std::atomic<uint32_t> epoch_{0};       // counts announcements; workers sleep on it
  std::atomic<bool> stopping_{false};

  std::mutex failure_mutex_;
  int64_t failed_task_ = 0;
  std::exception_ptr failure_;

  std::vector<std::array<Memory, 4>> scratch_;
  std::vector<std::thread> workers_;
};

}  // namespace slayer
