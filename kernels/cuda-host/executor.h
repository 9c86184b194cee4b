// Runs CUDA kernels on the host, one block (or cluster of blocks) after the other, one fibre per thread: slow, exact about what the
// programming model promises, and no more: a thread runs on until it waits for others.
//
// What is checked: shared memory (shared_memory.h); barriers and warp operations that some thread never reaches; alignment
// of vector accesses; how Hopper's barriers, copies and products are used. The first problem of a launch is thrown at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "block.h"

namespace slayer::host {

// A kernel by its name; see SLAYER_KERNEL in simt.h.
struct Registration {
  Registration(const char* name, void (*run)(const void* args), size_t args_bytes, unsigned threads, unsigned cluster = 1);
  const char* name;
  void (*run)(const void* args);
  size_t args_bytes;
  unsigned threads;  // most threads of a block, as declared
  unsigned cluster;  // blocks of a cluster
};

// Null if there is none of this name.
const Registration* find_kernel(const std::string& name);

class LaunchError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Executor {
 public:
  // Runs all blocks of a grid, in order or from the last to the first. Throws a LaunchError that says what went wrong.
  void launch(const std::string& kernel, Dim3 grid, Dim3 block, size_t shared_bytes, const void* args, size_t args_bytes,
              bool backwards);

  // For the kernels' own use, through simt.h and hopper.h.
  Thread& current() { return *current_; }
  const Dim3& block_index() const { return current_->block->index; }
  const Dim3& block_size() const { return block_size_; }
  const Dim3& grid_size() const { return grid_size_; }
  unsigned cluster_rank() const { return current_->block->rank; }
  SharedMemory& shared() { return current_->block->shared; }
  Access access() const;

  void block_barrier();
  // Waits for all lanes of `mask`; the last to come calls `complete` before any goes on. Returns the set of slots to read.
  unsigned warp_barrier(uint32_t mask, const std::function<void(Warp&, unsigned set)>* complete = nullptr, bool orders_memory = true);
  // Puts a value into the caller's slot for the operation that comes next.
  void deposit(const void* value, size_t bytes);

  void start_copy(uint32_t to, uint32_t bytes, const void* from);
  void commit_copies();
  // Completes all but the newest `keep` groups of the calling thread.
  void wait_copies(unsigned keep);

  // Hopper's barriers and copies (barriers.cc), as ../cuda/nvidia_hopper.h says.
  void make_barrier(uint32_t at, unsigned arrivals);
  void fence_barriers();
  void arrive(uint32_t at, unsigned rank, unsigned bytes);
  void wait_at(uint32_t at, unsigned parity);
  void copy_box(uint32_t to, const uint64_t* map, uint32_t barrier, int rank, const int (&coordinates)[3], bool to_all);
  void cluster_barrier();

  // Its products (products.cc): made when they are waited for, by the last lane of a warp for the warp's rows.
  void multiply(const GroupProduct& product);
  void commit_products();
  void wait_products(unsigned keep);

  void report(std::string problem) { shared().report(std::move(problem)); }

 private:
  static void enter();
  void begin_block(Block& block, unsigned rank, Dim3 index, size_t shared_bytes);
  void run_cluster(bool backwards);
  std::string who_waits() const;
  void hand_over();
  void park();
  void release_block(Block& block);
  void release_warp(Warp& warp);
  void finish(Thread& thread);

  Mbarrier* barrier_of(Block& block, uint32_t at, const char* what);
  void end_if_possible(Block& block, Mbarrier& barrier);
  void end_phase(Block& block, Mbarrier& barrier);
  void release_cluster();
  // All blocks of the cluster pass a barrier: no race is found between what comes before it and after.
  void next_epoch();
  void check_barriers(Block& block);
  void check_products(Block& block);

  const Registration* kernel_ = nullptr;
  const void* args_ = nullptr;
  Dim3 block_size_, grid_size_;
  Stacks stacks_;
  std::vector<std::unique_ptr<Block>> blocks_;  // of the cluster
  std::vector<Thread> threads_;                 // of all its blocks
  Thread* current_ = nullptr;
  Context scheduler_;
  unsigned alive_ = 0;            // in the cluster
  unsigned cluster_waiting_ = 0;  // at its barrier
  uint32_t cluster_epoch_ = 0;
};

// The executor whose kernel is running. Launches don't nest, and run on one system thread at a time.
Executor& executor();

}  // namespace slayer::host
