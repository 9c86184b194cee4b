// What a CPU kernel sees: operands, attributes, and a pool of threads.
//
// A kernel is one function per op, in kernels/<op>/<op>.cc. Each such file is compiled once per instruction set (see
// isa.h); it registers its functions in a table, and the addon picks the table of the best set the processor has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../native/call.h"

namespace slayer {

// A reference to something callable as void(int64_t task, int thread); does not own it.
class TaskRef {
 public:
  template <class F>
  TaskRef(F& f) : object_(&f), call_([](void* o, int64_t task, int thread) { (*static_cast<F*>(o))(task, thread); }) {}
  void operator()(int64_t task, int thread) const { call_(object_, task, thread); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int);
};

// Threads for one plan at a time. Tasks 0 … n−1 go to whichever thread is free: so that results are the same for any number
// of threads, what a task computes must not depend on the thread it runs on, and sums over tasks are made in task order.
class Pool {
 public:
  virtual ~Pool() = default;
  virtual int threads() const = 0;
  // Runs task(0) … task(n−1), spread over the threads, and returns when all are done. Not reentrant.
  virtual void run(int64_t n, TaskRef task) = 0;
  // Memory for a thread's own use during a task (thread as the task was told, 0 also outside tasks), aligned to 64 bytes. It
  // stays valid until the same thread asks for a larger piece in the same slot (0 … 3).
  virtual void* scratch(int thread, int slot, size_t bytes) = 0;
};

using KernelFunction = void (*)(const Call&, Pool&);

struct KernelEntry {
  const char* op;
  KernelFunction run;
};

// Runs body(begin, end) over ranges that cover 0 … n; at least `grain` each, and not many more than there are threads.
template <class F>
void parallel_ranges(Pool& pool, int64_t n, int64_t grain, F body) {
  int64_t chunks = (n + grain - 1) / grain;
  const int64_t most = 4 * pool.threads();
  if (chunks > most) chunks = most;
  if (chunks <= 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  auto task = [&](int64_t c, int) { body(n * c / chunks, n * (c + 1) / chunks); };
  pool.run(chunks, task);
}

}  // namespace slayer
