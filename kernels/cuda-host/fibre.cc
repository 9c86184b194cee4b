#include "fibre.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !(defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)))
#include <ucontext.h>
#endif

namespace slayer::host {

Stacks::~Stacks() {
  if (base_ != nullptr) munmap(base_, count_ * kBytes);
}

void Stacks::reserve(size_t count) {
  if (count <= count_) return;
  void* const pages = mmap(nullptr, count * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  if (base_ != nullptr) munmap(base_, count_ * kBytes);
  base_ = static_cast<std::byte*>(pages);
  count_ = count;
}

// A switch saves what the calling convention lets a function rely on after a call, and nothing else: a few nanoseconds, where
// swapcontext asks the kernel for the signal mask each time.
#if defined(__linux__) && defined(__x86_64__)

extern "C" void slayer_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.type slayer_switch, @function
slayer_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size slayer_switch, .-slayer_switch
)");

void prepare(Context& context, std::byte* stack, void (*entry)()) {
  // entry finds its stack as after a call: 8 bytes off a multiple of 16, where its return address would be.
  auto* top = reinterpret_cast<uint64_t*>(stack + Stacks::kBytes - 16);
  *--top = 0;
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; i++) *--top = 0;
  context.stack_pointer = top;
}

void switch_context(Context& from, Context& to) { slayer_switch(&from.stack_pointer, to.stack_pointer); }

#elif defined(__linux__) && defined(__aarch64__)

extern "C" void slayer_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
slayer_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");

void prepare(Context& context, std::byte* stack, void (*entry)()) {
  auto* top = reinterpret_cast<uint64_t*>(stack + Stacks::kBytes - 160);
  for (int i = 0; i < 20; i++) top[i] = 0;
  top[11] = reinterpret_cast<uint64_t>(entry);  // x30
  context.stack_pointer = top;
}

void switch_context(Context& from, Context& to) { slayer_switch(&from.stack_pointer, to.stack_pointer); }

#else

void prepare(Context& context, std::byte* stack, void (*entry)()) {
  auto* const state = new (stack) ucontext_t;
  getcontext(state);
  state->uc_stack.ss_sp = stack + sizeof(ucontext_t);
  state->uc_stack.ss_size = Stacks::kBytes - sizeof(ucontext_t);
  state->uc_link = nullptr;
  makecontext(state, entry, 0);
  context.stack_pointer = state;
}

void switch_context(Context& from, Context& to) {
  static ucontext_t first;
  if (from.stack_pointer == nullptr) from.stack_pointer = &first;
  swapcontext(static_cast<ucontext_t*>(from.stack_pointer), static_cast<ucontext_t*>(to.stack_pointer));
}

#endif

}  // namespace slayer::host
