// Runs CUDA kernels on the host, one block after the other, one fibre per thread: slow, exact about what the programming
// model promises, and no more: a thread runs on until it waits for others.
//
// What is checked: shared memory (shared_memory.h); barriers and warp operations that some thread never reaches; alignment
// of vector accesses. The first problem of a launch is thrown at its end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fibre.h"
#include "shared_memory.h"

namespace slayer::host {

constexpr unsigned kWarp = 32;

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// A kernel by its name; see SLAYER_KERNEL in simt.h.
struct Registration {
  Registration(const char* name, void (*run)(const void* args), size_t args_bytes, unsigned threads);
  const char* name;
  void (*run)(const void* args);
  size_t args_bytes;
  unsigned threads;  // most threads of a block, as declared
};

// Null if there is none of this name.
const Registration* find_kernel(const std::string& name);

class LaunchError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a lane hands to the others of its warp in one collective operation.
struct Slot {
  alignas(16) std::byte bytes[32];
};

struct Warp {
  uint32_t alive = 0;    // lanes that have not returned
  uint32_t arrived = 0;  // lanes waiting in the current operation
  uint32_t mask = 0;     // lanes that must arrive
  uint32_t epoch = 0;    // operations completed
  // Two sets, used in turn: a lane may be one operation ahead of another, never two.
  std::array<std::array<Slot, kWarp>, 2> slots;
  std::array<std::array<float, 16 * 8>, 2> products;
};

struct PendingCopy {
  uint32_t to;
  uint32_t bytes;
  const void* from;  // null: zeros
  uint32_t group;
};

struct Thread {
  enum class State { ready, waiting, returned };
  Context context;
  State state = State::ready;
  Dim3 index;
  uint16_t number = 0;  // in the block
  Warp* warp = nullptr;
  std::vector<PendingCopy> copies;
  uint32_t copy_group = 0;  // the one being filled

  unsigned lane() const { return number % kWarp; }
};

class Executor {
 public:
  // Runs all blocks of a grid, in order or from the last to the first. Throws a LaunchError that says what went wrong.
  void launch(const std::string& kernel, Dim3 grid, Dim3 block, size_t shared_bytes, const void* args, size_t args_bytes,
              bool backwards);

  // For the kernels' own use, through simt.h.
  Thread& current() { return *current_; }
  const Dim3& block_index() const { return block_index_; }
  const Dim3& block_size() const { return block_size_; }
  const Dim3& grid_size() const { return grid_size_; }
  SharedMemory& shared() { return shared_; }
  Access access() const;

  void block_barrier();
  // Waits for all lanes of `mask`; the last to come calls `complete` before any goes on. Returns the set of slots to read.
  unsigned warp_barrier(uint32_t mask, const std::function<void(Warp&, unsigned set)>* complete = nullptr);
  // Puts a value into the caller's slot for the operation that comes next.
  void deposit(const void* value, size_t bytes);

  void start_copy(uint32_t to, uint32_t bytes, const void* from);
  void commit_copies();
  // Completes all but the newest `keep` groups of the calling thread.
  void wait_copies(unsigned keep);

  void report(std::string problem) { shared_.report(std::move(problem)); }

 private:
  static void enter();
  void run_block();
  void hand_over();
  void release_block();
  void release_warp(Warp& warp);
  void finish(Thread& thread);

  const Registration* kernel_ = nullptr;
  const void* args_ = nullptr;
  Dim3 block_index_, block_size_, grid_size_;
  Stacks stacks_;
  SharedMemory shared_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  Thread* current_ = nullptr;
  Context scheduler_;
  unsigned alive_ = 0;
  unsigned waiting_ = 0;  // at the block's barrier
  uint32_t epoch_ = 0;
};

// The executor whose kernel is running. Launches don't nest, and run on one system thread at a time.
Executor& executor();

}  // namespace slayer::host
