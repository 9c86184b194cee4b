// The state of the blocks, warps and threads that the executor runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "fibre.h"
#include "shared_memory.h"
#include "tensor_map.h"

namespace slayer::host {

constexpr unsigned kWarp = 32;

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// What a lane hands to the others of its warp in one collective operation.
struct Slot {
  alignas(16) std::byte bytes[32];
};

struct Thread;

struct Warp {
  Thread* first = nullptr;  // of its lanes
  uint32_t alive = 0;       // lanes that have not returned
  uint32_t arrived = 0;     // lanes waiting in the current operation
  uint32_t mask = 0;        // lanes that must arrive
  uint32_t turn = 0;        // operations completed
  uint32_t epoch = 0;       // those of them that order memory
  // Two sets, used in turn: a lane may be one operation ahead of another, never two.
  std::array<std::array<Slot, kWarp>, 2> slots;
  std::array<std::array<float, 16 * 8>, 2> products;
  unsigned keep = 0;              // groups of wgmma that the warp does not wait for
  uint64_t products_issued = 0;   // a digest: the four warps of a warpgroup issue the same
};

struct PendingCopy {
  uint32_t to;
  uint32_t bytes;
  const void* from;  // null: zeros
  uint32_t group;
};

// A product of a warpgroup's tiles (wgmma) as one thread has issued it.
struct GroupProduct {
  float* sums;
  int columns;
  const uint32_t* left;  // A in registers, or null
  uint32_t a, b;         // where the tiles begin
  int a_panel, b_panel;
  bool a_transposed, b_transposed;
  int k;
  bool add;
  uint32_t group;
};

// Sums that products still write: what they were, while the thread sees NaN.
struct HeldSums {
  float* sums;
  int pending;  // products
  std::vector<float> values;
};

struct Mbarrier;

struct Thread {
  enum class State { ready, waiting, returned };
  Context context;
  State state = State::ready;
  Dim3 index;
  uint16_t number = 0;  // in the block
  Warp* warp = nullptr;
  struct Block* block = nullptr;
  std::vector<PendingCopy> copies;
  uint32_t copy_group = 0;  // the one being filled
  const Mbarrier* barrier = nullptr;  // that it waits at
  std::vector<GroupProduct> products;
  std::vector<HeldSums> held;
  uint32_t product_group = 0;
  bool products_begun = false;  // since products were last waited for

  unsigned lane() const { return number % kWarp; }
};

// A box on its way to shared memory.
struct PendingBox {
  TiledTensor tensor;
  uint32_t to;
  int at[3];
};

// A barrier in shared memory that counts arrivals and bytes. Its boxes are copied, and so counted, when a phase can end with them and
// somebody waits for it, not before.
struct Mbarrier {
  unsigned expected = 0;  // arrivals of a phase
  unsigned missing = 0;
  int64_t announced = 0;  // bytes
  int64_t issued = 0;
  uint64_t phase = 0;
  unsigned waiting = 0;  // threads
  std::vector<PendingBox> boxes;
  const Thread* maker = nullptr;
  bool fenced = false;
  uint32_t made_in = 0;          // epoch of its block
  uint32_t made_in_cluster = 0;  // epoch of its cluster
  uint64_t seen = 0;             // phases whose end a thread has waited for
  uint64_t remote = 0;           // 1 + the last phase to which another block contributed
  uint32_t remote_in = 0;        // epoch of the cluster in which it did
};

struct Block {
  Dim3 index;
  unsigned rank = 0;  // in its cluster
  SharedMemory shared;
  std::vector<Warp> warps;
  unsigned alive = 0;
  unsigned waiting = 0;  // at the block's barrier
  uint32_t epoch = 0;
  std::map<uint32_t, Mbarrier> barriers;  // by place
};

}  // namespace slayer::host
