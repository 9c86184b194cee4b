// Cooperative threads: each has a stack of its own and runs until it hands over to another.
#pragma once

#include <cstddef>
#include <memory>

namespace slayer::host {

// Stacks for `count` fibres in one mapping, kept from launch to launch. Pages cost nothing until touched.
class Stacks {
 public:
  static constexpr size_t kBytes = 128 << 10;

  Stacks() = default;
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  // Room for `count` stacks. Throws std::bad_alloc.
  void reserve(size_t count);
  std::byte* of(size_t fibre) const { return base_ + fibre * kBytes; }

 private:
  std::byte* base_ = nullptr;
  size_t count_ = 0;
};

// A suspended flow of control: where its stack stood when it handed over.
struct Context {
  void* stack_pointer = nullptr;
};

// Makes `context` start at entry() on that stack when it is switched to for the first time. entry never returns.
void prepare(Context& context, std::byte* stack, void (*entry)());

// Suspends the caller in `from` and goes on with `to`.
void switch_context(Context& from, Context& to);

}  // namespace slayer::host
