// Hopper's instructions on the host: the names of ../cuda/nvidia_hopper.h, on the executor. Copies and products are made as late as a
// device may make them. What the host cannot check are the encodings: descriptors, and the driver's tensor maps.
#pragma once

#include "../cuda/device.h"

// A kernel whose grid is made of clusters of so many blocks along x.
#define SLAYER_CLUSTER_KERNEL(name, Args, threads, blocks)                                                    \
  static void name(const Args& args);                                                                         \
  static const ::slayer::host::Registration registration_of_##name(                                           \
      #name, [](const void* args) { name(*static_cast<const Args*>(args)); }, sizeof(Args), threads, blocks); \
  static void name([[maybe_unused]] const Args& args)

namespace slayer::cuda {

template <int N>
using GroupSums = float[N / 2];
using Barrier = Shared<uint64_t>;

inline void make_barrier(Barrier barrier, unsigned arrivals) { host::executor().make_barrier(barrier.at(), arrivals); }
inline void fence_barriers() { host::executor().fence_barriers(); }
inline void arrive(Barrier barrier) { host::executor().arrive(barrier.at(), host::executor().cluster_rank(), 0); }
inline void arrive_at(Barrier barrier, unsigned rank) { host::executor().arrive(barrier.at(), rank, 0); }
inline void arrive_expecting(Barrier barrier, unsigned bytes) {
  host::executor().arrive(barrier.at(), host::executor().cluster_rank(), bytes);
}
inline void wait_at(Barrier barrier, unsigned parity) { host::executor().wait_at(barrier.at(), parity); }

inline unsigned cluster_rank() { return host::executor().cluster_rank(); }
inline void cluster_barrier() { host::executor().cluster_barrier(); }

inline void copy_box(Shared<bf16> to, const TensorMap& map, Barrier barrier, int c0, int c1) {
  host::executor().copy_box(to.at(), map.words, barrier.at(), 2, {c0, c1, 0}, false);
}
inline void copy_box(Shared<bf16> to, const TensorMap& map, Barrier barrier, int c0, int c1, int c2) {
  host::executor().copy_box(to.at(), map.words, barrier.at(), 3, {c0, c1, c2}, false);
}
inline void copy_box_to_both(Shared<bf16> to, const TensorMap& map, Barrier barrier, int c0, int c1) {
  host::executor().copy_box(to.at(), map.words, barrier.at(), 2, {c0, c1, 0}, true);
}

template <int Registers>
inline void shrink_registers() {
  static_assert(Registers % 8 == 0 && Registers >= 24 && Registers <= 256);
}
template <int Registers>
inline void grow_registers() {
  static_assert(Registers % 8 == 0 && Registers >= 24 && Registers <= 256);
}

template <int N, bool TransposeA, bool TransposeB>
inline void multiply_tiles(GroupSums<N>& d, Shared<bf16> a, int a_panel, Shared<bf16> b, int b_panel, int k, bool add) {
  static_assert(N == 64 || N == 128 || N == 256);
  host::executor().multiply({d, N, nullptr, a.at(), b.at(), a_panel, b_panel, TransposeA, TransposeB, k, add, 0});
}
// `a` is read when the product is made: it has to live, unchanged, until then.
template <int N, bool TransposeB>
inline void multiply_tiles(GroupSums<N>& d, const uint32_t (&a)[4], Shared<bf16> b, int b_panel, int k, bool add) {
  static_assert(N == 64 || N == 128 || N == 256);
  host::executor().multiply({d, N, a, 0, b.at(), 0, b_panel, false, TransposeB, k, add, 0});
}

inline void fetch_to_l2(const void* from, unsigned bytes) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0 || bytes % 16 != 0) host::executor().report("a fetch to L2 that is not aligned");
}
inline void fence_for_products() { host::executor().shared().fence(host::executor().current().number); }
inline void begin_products() { host::executor().current().products_begun = true; }
inline void commit_products() { host::executor().commit_products(); }
template <int Keep>
inline void wait_products() {
  host::executor().wait_products(Keep);
}
template <int Count>
inline void settle(float (&)[Count]) {}

}  // namespace slayer::cuda
