#include "executor.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace slayer::host {

namespace {

std::map<std::string, const Registration*>& kernels() {
  static auto* const table = new std::map<std::string, const Registration*>;  // never destroyed, see executor()
  return *table;
}

}  // namespace

Registration::Registration(const char* n, void (*r)(const void*), size_t bytes, unsigned most)
    : name(n), run(r), args_bytes(bytes), threads(most) {
  kernels()[n] = this;
}

const Registration* find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : found->second;
}

Executor& executor() {
  // Never destroyed: a process may exit while another thread still runs a kernel.
  static auto* const one = new Executor;
  return *one;
}

void Executor::launch(const std::string& kernel, Dim3 grid, Dim3 block, size_t shared_bytes, const void* args,
                      size_t args_bytes, bool backwards) {
  kernel_ = find_kernel(kernel);
  const unsigned threads = block.x * block.y * block.z;
  if (kernel_ == nullptr) throw LaunchError("there is no kernel " + kernel);
  if (args_bytes != kernel_->args_bytes) throw LaunchError(kernel + ": its arguments have another size");
  if (threads == 0 || threads > kernel_->threads) {
    throw LaunchError(kernel + ": " + std::to_string(threads) + " threads, declared for " + std::to_string(kernel_->threads));
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
    throw LaunchError(kernel + ": no such grid");
  }
  if (shared_bytes > SharedMemory::kMost) throw LaunchError(kernel + ": more shared memory than any device has");
  args_ = args;
  block_size_ = block;
  grid_size_ = grid;
  stacks_.reserve(threads);
  threads_.resize(threads);
  warps_.resize((threads + kWarp - 1) / kWarp);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  for (uint64_t i = 0; i < blocks; i++) {
    const uint64_t b = backwards ? blocks - 1 - i : i;
    block_index_ = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                    static_cast<unsigned>(b / grid.x / grid.y)};
    shared_.begin_block(shared_bytes);
    run_block();
    const std::string problem = shared_.take_problem();
    if (!problem.empty()) {
      throw LaunchError(kernel + ", block " + std::to_string(block_index_.x) + "," + std::to_string(block_index_.y) + "," +
                        std::to_string(block_index_.z) + ": " + problem);
    }
  }
}

void Executor::run_block() {
  for (Warp& warp : warps_) warp.alive = warp.arrived = warp.epoch = 0;
  for (size_t i = 0; i < threads_.size(); i++) {
    Thread& thread = threads_[i];
    const auto n = static_cast<unsigned>(i);
    thread.state = Thread::State::ready;
    thread.number = static_cast<uint16_t>(n);
    thread.index = {n % block_size_.x, n / block_size_.x % block_size_.y, n / block_size_.x / block_size_.y};
    thread.warp = &warps_[i / kWarp];
    thread.warp->alive |= 1u << thread.lane();
    thread.copies.clear();
    thread.copy_group = 0;
    prepare(thread.context, stacks_.of(i), enter);
  }
  alive_ = static_cast<unsigned>(threads_.size());
  waiting_ = 0;
  epoch_ = 0;
  current_ = &threads_[0];
  switch_context(scheduler_, current_->context);
  if (alive_ == 0) return;
  report(std::to_string(alive_) + " threads wait for others that never come (" + std::to_string(waiting_) +
         " of them at the block's barrier)");
}

void Executor::enter() {
  Executor& self = executor();
  self.kernel_->run(self.args_);
  self.finish(*self.current_);
  self.hand_over();
}

void Executor::finish(Thread& thread) {
  if (!thread.copies.empty()) report("thread " + std::to_string(thread.number) + " returns with copies not waited for");
  thread.state = Thread::State::returned;
  thread.warp->alive &= ~(1u << thread.lane());
  alive_--;
  if (waiting_ > 0 && waiting_ == alive_) release_block();
}

// Goes on with the next thread that can run, or back to run_block if there is none.
void Executor::hand_over() {
  Thread* const from = current_;
  const size_t n = threads_.size();
  for (size_t i = 1; i <= n; i++) {
    Thread& next = threads_[(from->number + i) % n];
    if (next.state != Thread::State::ready) continue;
    if (&next == from) return;
    current_ = &next;
    switch_context(from->context, next.context);
    return;
  }
  switch_context(from->context, scheduler_);
}

Access Executor::access() const {
  return {current_->number, static_cast<uint16_t>(current_->number / kWarp), epoch_, current_->warp->epoch};
}

void Executor::block_barrier() {
  waiting_++;
  if (waiting_ == alive_) {
    release_block();
    return;
  }
  current_->state = Thread::State::waiting;
  hand_over();
}

void Executor::release_block() {
  waiting_ = 0;
  epoch_++;
  for (Thread& thread : threads_) {
    if (thread.state == Thread::State::waiting) thread.state = Thread::State::ready;
  }
}

void Executor::deposit(const void* value, size_t bytes) {
  Warp& warp = *current_->warp;
  std::memcpy(warp.slots[warp.epoch % 2][current_->lane()].bytes, value, bytes);
}

unsigned Executor::warp_barrier(uint32_t mask, const std::function<void(Warp&, unsigned)>* complete) {
  Warp& warp = *current_->warp;
  const unsigned set = warp.epoch % 2;
  const uint32_t self = 1u << current_->lane();
  if ((mask & self) == 0) report("a warp operation whose mask lacks the calling lane");
  if ((mask & ~warp.alive) != 0) report("a warp operation waits for a lane that has returned");
  if (warp.arrived != 0 && warp.mask != mask) report("lanes of a warp wait for different masks");
  warp.mask = mask;
  warp.arrived |= self;
  if (warp.arrived == mask) {
    if (complete != nullptr) (*complete)(warp, set);
    release_warp(warp);
    return set;
  }
  current_->state = Thread::State::waiting;
  hand_over();
  return set;
}

void Executor::release_warp(Warp& warp) {
  const size_t first = static_cast<size_t>(&warp - warps_.data()) * kWarp;
  for (unsigned lane = 0; lane < kWarp; lane++) {
    if (warp.arrived & (1u << lane)) threads_[first + lane].state = Thread::State::ready;
  }
  warp.arrived = 0;
  warp.epoch++;
}

void Executor::start_copy(uint32_t to, uint32_t bytes, const void* from) {
  if (to % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0) report("an asynchronous copy that is not aligned");
  if (shared_.begin_copy(access(), to, bytes) == nullptr) return;
  current_->copies.push_back({to, bytes, from, current_->copy_group});
}

void Executor::commit_copies() { current_->copy_group++; }

void Executor::wait_copies(unsigned keep) {
  auto& copies = current_->copies;
  const uint32_t committed = current_->copy_group;
  size_t done = 0;
  while (done < copies.size() && copies[done].group + keep < committed) {
    const PendingCopy& copy = copies[done++];
    shared_.complete_copy(access(), copy.to, copy.bytes);
    std::byte* const to = shared_.write(access(), copy.to, copy.bytes);
    if (copy.from == nullptr) std::memset(to, 0, copy.bytes);
    else std::memcpy(to, copy.from, copy.bytes);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace slayer::host
