#include "thread_pool.h"

#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace slayer {

namespace {

// How often a worker looks for work before it sleeps: some 50 µs, longer than the gap between two kernels of a plan and
// shorter than what waking costs when it matters.
constexpr int kSpins = 2000;
// How often the calling thread looks whether the last tasks are done before it offers its core to others.
constexpr int kSpinsBeforeYield = 200;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : scratch_(static_cast<size_t>(threads)) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_ = true;
  epoch_++;
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// A worker that wakes late must not delay a kernel that the others have finished, so nobody waits for workers to come, only
// for those inside to leave. Entering is: inside_++, then look at open_; closing is: open_ = false, then look at inside_. As
// all four are sequentially consistent, either the worker sees it closed, or the caller sees the worker.
void ThreadPool::run(int64_t n, TaskRef task) {
  if (n <= 0) return;
  if (workers_.empty() || n == 1) {
    for (int64_t i = 0; i < n; i++) task(i, 0);
    return;
  }
  work_.emplace(Work{n, task});
  next_ = 0;
  open_ = true;
  epoch_++;
  epoch_.notify_all();
  claim(0);
  open_ = false;
  for (int spins = 0; inside_ != 0; spins++) {
    if (spins < kSpinsBeforeYield) relax();
    else std::this_thread::yield();
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::claim(int thread) {
  const auto [count, task] = *work_;
  for (int64_t i = next_++; i < count; i = next_++) {
    try {
      task(i, thread);
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_ || i < failed_task_) {
        failure_ = std::current_exception();
        failed_task_ = i;
      }
    }
  }
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  while (!stopping_) {
    for (int spins = 0; epoch_ == seen && spins < kSpins; spins++) relax();
    epoch_.wait(seen);
    seen = epoch_;
    inside_++;
    if (open_) claim(thread);
    inside_--;
  }
}

void* ThreadPool::scratch(int thread, int slot, size_t bytes) {
  Memory& memory = scratch_[static_cast<size_t>(thread)][static_cast<size_t>(slot)];
  if (memory.bytes() < bytes) {
    memory = Memory();  // gives back the old piece first
    memory = Memory(bytes);
  }
#if defined(__SANITIZE_ADDRESS__)
  // Nothing may be read or written beyond what was asked for, although a larger piece may be kept from before.
  ASAN_UNPOISON_MEMORY_REGION(memory.data(), bytes);
  ASAN_POISON_MEMORY_REGION(memory.data() + bytes, memory.bytes() - bytes);
#endif
  return memory.data();
}

}  // namespace slayer
