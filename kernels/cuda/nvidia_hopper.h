// Hopper's own instructions (compute capability 9.0a): products of tiles where they lie in shared memory (wgmma), tiles copied there by the
// copy engine (TMA), barriers that count arrivals and bytes (mbarrier), clusters of two blocks. ../cuda-host/hopper.h gives the same names to
// a host compiler. PTX as in NVIDIA's "PTX ISA".
//
// A tile in shared memory is made of panels: rows of 64 bf16 (128 bytes), 16-byte chunk c of row r at place c ^ (r mod 8), so that 8 rows make
// a piece of 1024 bytes; panels begin at multiples of 1024. So the copy engine leaves a box of 64 columns, and so does Tile<64>. An operand of
// a product lies there either direct, a row per row of A (or column of B), with 64 steps of k; or transposed, a row per step of k,
// with 64 rows of A (columns of B), where further ones are in further panels.
#pragma once

#include "device.h"

#define SLAYER_CLUSTER_KERNEL(name, Args, threads, blocks) \
  extern "C" __global__ void __cluster_dims__(blocks, 1, 1) __launch_bounds__(threads, 1) name(const __grid_constant__ Args args)

namespace slayer::cuda {

// What a thread holds of its warpgroup's 64 × N sums: element 4j + i is row 16·warp + lane/4 + 8(i/2), column 8j + 2(lane%4) + i%2, as
// mma.m16n8k16 leaves them.
template <int N>
using GroupSums = float[N / 2];

// An mbarrier. Its phase ends when as many threads have arrived as it was made for, and all bytes that were announced are there.
using Barrier = Shared<uint64_t>;

// One thread makes barriers; then fence_barriers() by it, and a barrier of the block (or the cluster), before they are used.
__device__ __forceinline__ void make_barrier(Barrier barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void arrive(Barrier barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// At the barrier that lies at the same place in block `rank` of the cluster. Says that this thread has done with what it read there, not that
// others may read what it wrote: a release among the cluster's blocks would wait for all its stores.
__device__ __forceinline__ void arrive_at(Barrier barrier, unsigned rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
// Arrives, and announces bytes that copies will bring.
__device__ __forceinline__ void arrive_expecting(Barrier barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Until the phase of this parity has ended: phases are 0, 1, 0 …, and of parity 1 the one before the first counts as ended.
__device__ __forceinline__ void wait_at(Barrier barrier, unsigned parity) {
  unsigned done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
}

// Which block of its cluster this is, and a barrier of all the cluster's threads, which orders nothing but what fence_barriers has.
__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// A copy by one thread: the box of `map` whose first element has these coordinates, innermost first, to a panel (or several); zeros where the
// tensor ends. The bytes are counted at `barrier`.
__device__ __forceinline__ void copy_box(Shared<bf16> to, const TensorMap& map, Barrier barrier, int c0, int c1) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
                   shared_address(to)),
               "l"(&map), "r"(shared_address(barrier)), "r"(c0), "r"(c1)
               : "memory");
}
__device__ __forceinline__ void copy_box(Shared<bf16> to, const TensorMap& map, Barrier barrier, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
                   shared_address(to)),
               "l"(&map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
// To the same place in both blocks of the cluster, counted at the barriers that lie at the same place in each.
__device__ __forceinline__ void copy_box_to_both(Shared<bf16> to, const TensorMap& map, Barrier barrier, int c0, int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(
          shared_address(to)),
      "l"(&map), "r"(shared_address(barrier)), "h"(uint16_t{3}), "r"(c0), "r"(c1)
      : "memory");
}

// All warps of a warpgroup: have at most (at least) this many registers from here on.
template <int Registers>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

namespace detail {

// The PTX ISA's matrix descriptor, swizzle mode 1 (128 bytes). Direct: the next 8 rows are 1024 bytes on. Transposed: the next 8 steps of k are
// 1024 bytes on, the next 64 rows a panel.
template <bool Transposed>
__device__ __forceinline__ uint64_t descriptor(Shared<bf16> start, int panel_bytes, int k) {
  const unsigned leading = Transposed ? static_cast<unsigned>(panel_bytes) >> 4 : 1;
  const unsigned step = static_cast<unsigned>(Transposed ? k * 128 : k * 2) >> 4;
  // Above its 18 bits an address says which block of the cluster it is of.
  const unsigned low = ((shared_address(start) >> 4 & 0x3fff) | leading << 16) + step;
  return low | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

}  // namespace detail

#define SLAYER_WGMMA_BEGIN(number) "{\n.reg .pred p;\nsetp.ne.b32 p, %" number ", 0;\nwgmma.mma_async.sync.aligned."
#define SLAYER_SUMS_8(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SLAYER_SUMS_32(d, i) SLAYER_SUMS_8(d, i), SLAYER_SUMS_8(d, i + 8), SLAYER_SUMS_8(d, i + 16), SLAYER_SUMS_8(d, i + 24)
#define SLAYER_NAMES_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SLAYER_NAMES_64 \
  SLAYER_NAMES_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SLAYER_NAMES_128 \
  SLAYER_NAMES_64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// d (+)= A·B: A 64 rows, B N columns, steps k … k + 15. `a_panel` and `b_panel` are the bytes from one panel to the next, where an operand is
// transposed; of a direct operand k is below 64. Without `add` what d held does not count. Neither the tiles nor d may be
// touched before wait_products says so.
template <int N, bool TransposeA, bool TransposeB>
__device__ __forceinline__ void multiply_tiles(GroupSums<N>& d, Shared<bf16> a, int a_panel, Shared<bf16> b, int b_panel, int k, bool add) {
  const uint64_t left = detail::descriptor<TransposeA>(a, a_panel, k);
  const uint64_t right = detail::descriptor<TransposeB>(b, b_panel, k);
  if constexpr (N == 256) {
    asm volatile(SLAYER_WGMMA_BEGIN("130") "m64n256k16.f32.bf16.bf16 {" SLAYER_NAMES_128 "}, %128, %129, p, 1, 1, %131, %132;\n}"
                 : SLAYER_SUMS_32(d, 0), SLAYER_SUMS_32(d, 32), SLAYER_SUMS_32(d, 64), SLAYER_SUMS_32(d, 96)
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)), "n"(static_cast<int>(TransposeA)), "n"(static_cast<int>(TransposeB)));
  } else if constexpr (N == 128) {
    asm volatile(SLAYER_WGMMA_BEGIN("66") "m64n128k16.f32.bf16.bf16 {" SLAYER_NAMES_64 "}, %64, %65, p, 1, 1, %67, %68;\n}"
                 : SLAYER_SUMS_32(d, 0), SLAYER_SUMS_32(d, 32)
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)), "n"(static_cast<int>(TransposeA)), "n"(static_cast<int>(TransposeB)));
  } else if constexpr (N == 64) {
    asm volatile(SLAYER_WGMMA_BEGIN("34") "m64n64k16.f32.bf16.bf16 {" SLAYER_NAMES_32 "}, %32, %33, p, 1, 1, %35, %36;\n}"
                 : SLAYER_SUMS_32(d, 0)
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)), "n"(static_cast<int>(TransposeA)), "n"(static_cast<int>(TransposeB)));
  }
}

// The same with A in registers, where each warp of the group holds 16 rows as operand A of mma.m16n8k16.
template <int N, bool TransposeB>
__device__ __forceinline__ void multiply_tiles(GroupSums<N>& d, const uint32_t (&a)[4], Shared<bf16> b, int b_panel, int k, bool add) {
  const uint64_t right = detail::descriptor<TransposeB>(b, b_panel, k);
  if constexpr (N == 256) {
    asm volatile(SLAYER_WGMMA_BEGIN("133") "m64n256k16.f32.bf16.bf16 {" SLAYER_NAMES_128 "}, {%128, %129, %130, %131}, %132, p, 1, 1, %134;\n}"
                 : SLAYER_SUMS_32(d, 0), SLAYER_SUMS_32(d, 32), SLAYER_SUMS_32(d, 64), SLAYER_SUMS_32(d, 96)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right), "r"(static_cast<int>(add)), "n"(static_cast<int>(TransposeB)));
  } else if constexpr (N == 128) {
    asm volatile(SLAYER_WGMMA_BEGIN("69") "m64n128k16.f32.bf16.bf16 {" SLAYER_NAMES_64 "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}"
                 : SLAYER_SUMS_32(d, 0), SLAYER_SUMS_32(d, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right), "r"(static_cast<int>(add)), "n"(static_cast<int>(TransposeB)));
  } else if constexpr (N == 64) {
    asm volatile(SLAYER_WGMMA_BEGIN("37") "m64n64k16.f32.bf16.bf16 {" SLAYER_NAMES_32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
                 : SLAYER_SUMS_32(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right), "r"(static_cast<int>(add)), "n"(static_cast<int>(TransposeB)));
  }
}

// Asks for bytes that will be read from global memory, a multiple of 16 and aligned so: they come nearer.
__device__ __forceinline__ void fetch_to_l2(const void* from, unsigned bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// Makes what this thread has written to shared memory visible to products and copies; before the barrier after which they begin.
__device__ __forceinline__ void fence_for_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Before the first product that uses registers which were written since the last.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all but the newest Keep groups.
template <int Keep>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Keep) : "memory");
}
// The compiler does not know that products write registers until they are waited for; after a wait, before d is used.
template <int Count>
__device__ __forceinline__ void settle(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; i++) asm volatile("" : "+f"(d[i])::"memory");
}

}  // namespace slayer::cuda
