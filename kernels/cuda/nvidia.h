// What kernels use of an NVIDIA GPU from compute capability 8.0 on, in CUDA C++ and PTX. ../cuda-host/simt.h gives the same names
// to a host compiler.
#pragma once

#include <cstdint>

// Defines a kernel: its name, the struct that it is given, and the most threads its blocks may have.
#define SLAYER_KERNEL(name, Args, threads) \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Args args)
// The same, with so few registers that as many blocks as given run at once on a multiprocessor.
#define SLAYER_SHARING_KERNEL(name, Args, threads, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args args)

namespace slayer::cuda {

struct bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(uint32_t{x.bits} << 16); }
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
// To nearest, ties to even.
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
__device__ __forceinline__ uint32_t float_bits(float x) { return __float_as_uint(x); }

// Each rounded by itself: nvcc puts a product and a sum together elsewhere, which other machines may not.
__device__ __forceinline__ float exact_mul(float x, float y) { return __fmul_rn(x, y); }
__device__ __forceinline__ float exact_add(float x, float y) { return __fadd_rn(x, y); }
__device__ __forceinline__ float exact_div(float x, float y) { return __fdiv_rn(x, y); }
__device__ __forceinline__ float exact_sqrt(float x) { return __fsqrt_rn(x); }

// Two bf16 in one register, the first in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

template <class T>
using Shared = T*;

// The block's shared memory from byte `offset` on.
template <class T>
__device__ __forceinline__ Shared<T> shared(int offset) {
  extern __shared__ __align__(1024) unsigned char slayer_shared_memory[];
  return reinterpret_cast<T*>(slayer_shared_memory + offset);
}

// N elements that lie together, moved at once. N·sizeof(T) is a power of two, and `p` a multiple of it or of 16.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T v[N];
};
template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <class T, int N>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
}
// Lets the compiler think that the pack may have changed, so that it keeps this and nothing that it has computed from it.
template <class T, int N>
__device__ __forceinline__ void keep_packed(Pack<T, N>& pack) {
  if constexpr (sizeof pack % 4 == 0) {
    uint32_t words[sizeof pack / 4];
    memcpy(words, &pack, sizeof pack);
#pragma unroll
    for (uint32_t& word : words) asm volatile("" : "+r"(word));
    memcpy(&pack, words, sizeof pack);
  }
}
// Four floats of shared memory, 16-byte aligned.
__device__ __forceinline__ Pack<float, 4> load_four(Shared<float> p) { return load_pack<float, 4>(p); }
__device__ __forceinline__ void store_four(Shared<float> p, const Pack<float, 4>& pack) { store_pack<float, 4>(p, pack); }

// The value of lane `source` of the warp; all 32 lanes take part.
template <class T>
__device__ __forceinline__ T shuffle(T value, unsigned source) {
  return __shfl_sync(0xffffffffu, value, static_cast<int>(source));
}
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, unsigned mask) {
  return __shfl_xor_sync(0xffffffffu, value, static_cast<int>(mask));
}
// Bit i: whether lane i says so.
__device__ __forceinline__ uint32_t ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }

__device__ __forceinline__ int count_bits(uint32_t x) { return __popc(x); }

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global to shared memory, past the registers; zeros unless `valid`. Complete only after a wait and a barrier.
template <class T>
__device__ __forceinline__ void copy_async(Shared<T> to, const T* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Keep>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Keep) : "memory");
}

// ldmatrix .x4: lane 8i + r gives the address of row r of matrix i; lane l gets of matrix i the elements (l/4, 2(l%4)) and the
// next one, or transposed (2(l%4), l/4) and the one below.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], Shared<bf16> row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], Shared<bf16> row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += A·B, mma.sync m16n8k16 on bf16 with f32 sums. Of c, lane l holds rows l/4 (c[0], c[1]) and l/4 + 8 (c[2], c[3]), columns
// 2(l%4) and the next.
__device__ __forceinline__ void multiply_accumulate(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Whether this is the first thread of the launch to set `word` from 0.
__device__ __forceinline__ bool set_first(int* word, int value) { return atomicCAS(word, 0, value) == 0; }

// Adds 1 to `word` of all blocks' memory, and gives what it was.
__device__ __forceinline__ int take_number(int* word) { return atomicAdd(word, 1); }

// Within 1 ulp; 0 of an infinity.
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace slayer::cuda
