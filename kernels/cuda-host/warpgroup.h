// Hopper's products on the host: the names of ../cuda/nvidia_warpgroup.h. A product is made as late as a device may make it, when it is
// waited for, so that tiles which are overwritten too early are found. What the host cannot check is the descriptor's encoding and
// whether writes were fenced.
#pragma once

#include "../cuda/tile.h"

namespace slayer::cuda {

constexpr int kGroupColumns = 256;
using GroupSums = float[128];

namespace detail {

struct PendingProduct {
  GroupSums* sums;
  Shared<bf16> a, b;
  int k;
  uint32_t group;
};

// By thread of the block.
inline thread_local std::vector<std::vector<PendingProduct>> pending_products(1024);
inline thread_local std::vector<uint32_t> product_groups(1024);

inline void finish(const PendingProduct& product) {
  const Tile<64> a{product.a}, b{product.b};
  const auto& thread = host::executor().current();
  const int lane = static_cast<int>(thread.lane());
  const int row = thread.number / host::kWarp % 4 * 16 + lane / 4;
  const auto read = [&](const Tile<64>& tile, int r, int k) { return to_float(tile.chunk(r, k / 8)[k % 8]); };
  float left[2][16];
  for (int half = 0; half < 2; half++) {
    for (int k = 0; k < 16; k++) left[half][k] = read(a, row + 8 * half, product.k + k);
  }
  for (int j = 0; j < kGroupColumns / 8; j++) {
    for (int e = 0; e < 2; e++) {
      float right[16];
      for (int k = 0; k < 16; k++) right[k] = read(b, 8 * j + lane % 4 * 2 + e, product.k + k);
      for (int half = 0; half < 2; half++) {
        float sum = 0;
        for (int k = 0; k < 16; k++) sum += left[half][k] * right[k];
        (*product.sums)[4 * j + 2 * half + e] += sum;
      }
    }
  }
}

}  // namespace detail

inline void fence_for_products() {}
inline void begin_products() {}
inline void multiply_tiles(GroupSums& d, Shared<bf16> a, Shared<bf16> b, int k) {
  const unsigned number = host::executor().current().number;
  if (a.at() % 1024 != 0 || b.at() % 1024 != 0) host::executor().report("a product of tiles that are not aligned to 1024 bytes");
  detail::pending_products[number].push_back({&d, a, b, k, detail::product_groups[number]});
}
inline void commit_products() { detail::product_groups[host::executor().current().number]++; }
template <int Keep>
inline void wait_products() {
  const unsigned number = host::executor().current().number;
  auto& pending = detail::pending_products[number];
  size_t done = 0;
  while (done < pending.size() && pending[done].group + Keep < detail::product_groups[number]) detail::finish(pending[done++]);
  pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace slayer::cuda
