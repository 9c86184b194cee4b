// What a CPU kernel sees: operands, attributes, and a pool of threads.
//
// A kernel is one function per op, in kernels/<op>/<op>.cc. Each such file is compiled once per instruction set (see
// isa.h); it registers its functions in a table, and the addon picks the table of the best set the processor has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace slayer {

enum class DType : uint8_t { f32, bf16, i32 };

// A number stored in bf16: the upper half of an f32. Kernels compute in f32; isa.h loads and stores it as such.
struct Bf16 {
  uint16_t bits;
};

// A contiguous row-major tensor in memory. Data need be aligned to its element only.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;

  float* f32() const { return static_cast<float*>(data); }
  Bf16* bf16() const { return static_cast<Bf16*>(data); }
  int32_t* i32() const { return static_cast<int32_t*>(data); }
  // f(float*) or f(Bf16*): for operands that may be stored either way.
  template <class F>
  __attribute__((always_inline)) void with_floats(F f) const {
    if (dtype == DType::bf16) f(bf16());
    else f(f32());
  }
  // Number of elements.
  __attribute__((always_inline)) int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  // The last extent; a tensor [..., D] seen as the matrix [rows, columns].
  __attribute__((always_inline)) int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  __attribute__((always_inline)) int64_t rows() const { return size() / columns(); }
};

// One op of a plan with its memory bound. Attribute names are those of packages/tensor/src/ops; booleans are 0 or 1.
struct Call {
  std::vector<Operand> in;
  std::vector<Operand> out;
  std::vector<std::pair<std::string, double>> attrs;

  __attribute__((always_inline)) double attr(const char* name, double otherwise = 0) const {
    for (const auto& [key, value] : attrs) if (key == name) return value;
    return otherwise;
  }
};

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
