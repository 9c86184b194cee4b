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

Registration::Registration(const char* n, void (*r)(const void*), size_t bytes, unsigned most, unsigned blocks)
    : name(n), run(r), args_bytes(bytes), threads(most), cluster(blocks) {
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
  const unsigned cluster = kernel_->cluster;
  if (grid.x % cluster != 0) throw LaunchError(kernel + ": a grid that is not a multiple of its cluster of " + std::to_string(cluster));
  args_ = args;
  block_size_ = block;
  grid_size_ = grid;
  stacks_.reserve(size_t{threads} * cluster);
  threads_.resize(size_t{threads} * cluster);
  while (blocks_.size() < cluster) blocks_.push_back(std::make_unique<Block>());
  blocks_.resize(cluster);
  const uint64_t clusters = uint64_t{grid.x} * grid.y * grid.z / cluster;
  for (uint64_t i = 0; i < clusters; i++) {
    const uint64_t first = (backwards ? clusters - 1 - i : i) * cluster;
    for (unsigned rank = 0; rank < cluster; rank++) {
      const uint64_t b = first + rank;
      begin_block(*blocks_[rank], rank, {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                                         static_cast<unsigned>(b / grid.x / grid.y)}, shared_bytes);
    }
    run_cluster(backwards);
    std::string problem;
    for (const auto& each : blocks_) {
      const std::string its = each->shared.take_problem();
      if (its.empty() || !problem.empty()) continue;
      problem = kernel + ", block " + std::to_string(each->index.x) + "," + std::to_string(each->index.y) + "," +
                std::to_string(each->index.z) + ": " + its;
    }
    if (!problem.empty()) throw LaunchError(problem);
  }
}

void Executor::begin_block(Block& block, unsigned rank, Dim3 index, size_t shared_bytes) {
  const size_t threads = threads_.size() / kernel_->cluster;
  block.index = index;
  block.rank = rank;
  block.alive = static_cast<unsigned>(threads);
  block.waiting = block.epoch = 0;
  block.barriers.clear();
  block.shared.begin_block(shared_bytes);
  block.warps.resize((threads + kWarp - 1) / kWarp);
  Thread* const first = &threads_[rank * threads];
  for (size_t i = 0; i < block.warps.size(); i++) {
    Warp& warp = block.warps[i];
    warp.first = first + i * kWarp;
    warp.alive = warp.arrived = warp.turn = warp.epoch = 0;
    warp.products_issued = 0;
  }
  for (size_t i = 0; i < threads; i++) {
    Thread& thread = first[i];
    const auto n = static_cast<unsigned>(i);
    thread.state = Thread::State::ready;
    thread.number = static_cast<uint16_t>(n);
    thread.index = {n % block_size_.x, n / block_size_.x % block_size_.y, n / block_size_.x / block_size_.y};
    thread.block = &block;
    thread.warp = &block.warps[i / kWarp];
    thread.warp->alive |= 1u << thread.lane();
    thread.copies.clear();
    thread.copy_group = 0;
    thread.barrier = nullptr;
    thread.products.clear();
    thread.held.clear();
    thread.product_group = 0;
    thread.products_begun = false;
    prepare(thread.context, stacks_.of(rank * threads + i), enter);
  }
}

void Executor::run_cluster(bool backwards) {
  alive_ = static_cast<unsigned>(threads_.size());
  cluster_waiting_ = 0;
  cluster_epoch_ = 0;
  current_ = &threads_[backwards ? threads_.size() - threads_.size() / blocks_.size() : 0];
  switch_context(scheduler_, current_->context);
  if (alive_ != 0) report(who_waits());
}

std::string Executor::who_waits() const {
  unsigned at_blocks = 0;
  std::string others;
  for (const auto& block : blocks_) {
    at_blocks += block->waiting;
    for (const auto& [at, barrier] : block->barriers) {
      if (barrier.waiting == 0) continue;
      others += ", " + std::to_string(barrier.waiting) + " of block " + std::to_string(block->rank) + " at the one at byte " + std::to_string(at) +
                " where " + std::to_string(barrier.missing) + " of " + std::to_string(barrier.expected) + " arrivals and " +
                std::to_string(barrier.announced - barrier.issued) + " bytes are missing from phase " + std::to_string(barrier.phase);
    }
  }
  if (cluster_waiting_ > 0) others += ", " + std::to_string(cluster_waiting_) + " at the cluster's";
  return std::to_string(alive_) + " threads wait for others that never come (" + std::to_string(at_blocks) +
         " of them at the block's barrier" + others + ")";
}

void Executor::enter() {
  Executor& self = executor();
  self.kernel_->run(self.args_);
  self.finish(*self.current_);
  self.hand_over();
}

void Executor::finish(Thread& thread) {
  Block& block = *thread.block;
  if (!thread.copies.empty()) report("thread " + std::to_string(thread.number) + " returns with copies not waited for");
  if (!thread.products.empty()) report("thread " + std::to_string(thread.number) + " returns with products not waited for");
  thread.state = Thread::State::returned;
  thread.warp->alive &= ~(1u << thread.lane());
  block.alive--;
  alive_--;
  if (block.alive == 0) {
    check_barriers(block);
    check_products(block);
  }
  if (block.waiting > 0 && block.waiting == block.alive) release_block(block);
  if (cluster_waiting_ > 0 && cluster_waiting_ == alive_) release_cluster();
}

// Goes on with the next thread that can run, or back to run_cluster if there is none.
void Executor::hand_over() {
  Thread* const from = current_;
  const size_t n = threads_.size();
  const auto place = static_cast<size_t>(from - threads_.data());
  for (size_t i = 1; i <= n; i++) {
    Thread& next = threads_[place + i < n ? place + i : place + i - n];
    if (next.state != Thread::State::ready) continue;
    if (&next == from) return;
    current_ = &next;
    switch_context(from->context, next.context);
    return;
  }
  switch_context(from->context, scheduler_);
}

// Until somebody makes the calling thread ready.
void Executor::park() {
  current_->state = Thread::State::waiting;
  hand_over();
}

Access Executor::access() const {
  return {current_->number, static_cast<uint16_t>(current_->number / kWarp), current_->block->epoch, current_->warp->epoch};
}

void Executor::block_barrier() {
  Block& block = *current_->block;
  block.waiting++;
  if (block.waiting == block.alive) release_block(block);
  else park();
}

void Executor::release_block(Block& block) {
  block.waiting = 0;
  block.epoch++;
  Thread* const first = block.warps[0].first;
  for (size_t i = 0; i < threads_.size() / blocks_.size(); i++) {
    if (first[i].state == Thread::State::waiting) first[i].state = Thread::State::ready;
  }
}

void Executor::deposit(const void* value, size_t bytes) {
  Warp& warp = *current_->warp;
  std::memcpy(warp.slots[warp.turn % 2][current_->lane()].bytes, value, bytes);
}

unsigned Executor::warp_barrier(uint32_t mask, const std::function<void(Warp&, unsigned)>* complete, bool orders_memory) {
  Warp& warp = *current_->warp;
  const unsigned set = warp.turn % 2;
  const uint32_t self = 1u << current_->lane();
  if ((mask & self) == 0) report("a warp operation whose mask lacks the calling lane");
  if ((mask & ~warp.alive) != 0) report("a warp operation waits for a lane that has returned");
  if (warp.arrived != 0 && warp.mask != mask) report("lanes of a warp wait for different masks");
  warp.mask = mask;
  warp.arrived |= self;
  if (warp.arrived == mask) {
    if (complete != nullptr) (*complete)(warp, set);
    if (orders_memory) warp.epoch++;
    release_warp(warp);
    return set;
  }
  park();
  return set;
}

void Executor::release_warp(Warp& warp) {
  for (unsigned lane = 0; lane < kWarp; lane++) {
    if (warp.arrived & (1u << lane)) warp.first[lane].state = Thread::State::ready;
  }
  warp.arrived = 0;
  warp.turn++;
}

void Executor::start_copy(uint32_t to, uint32_t bytes, const void* from) {
  if (to % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0) report("an asynchronous copy that is not aligned");
  if (shared().begin_copy(access(), to, bytes) == nullptr) return;
  current_->copies.push_back({to, bytes, from, current_->copy_group});
}

void Executor::commit_copies() { current_->copy_group++; }

void Executor::wait_copies(unsigned keep) {
  auto& copies = current_->copies;
  const uint32_t committed = current_->copy_group;
  size_t done = 0;
  while (done < copies.size() && copies[done].group + keep < committed) {
    const PendingCopy& copy = copies[done++];
    shared().complete_copy(access(), copy.to, copy.bytes);
    std::byte* const to = shared().write(access(), copy.to, copy.bytes);
    if (copy.from == nullptr) std::memset(to, 0, copy.bytes);
    else std::memcpy(to, copy.from, copy.bytes);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace slayer::host
