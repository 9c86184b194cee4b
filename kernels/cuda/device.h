// Begins every CUDA kernel source: the device's operations, from nvcc or from the host executor, and what is built on them.
#pragma once

#if defined(__CUDACC__)
#include "nvidia.h"
#else
#include "../cuda-host/simt.h"
#endif

#include "args.h"

namespace slayer::cuda {

constexpr unsigned kLanes = 32;
constexpr float kLog2e = 1.4426950408889634f;

__device__ __forceinline__ unsigned lane_index() { return threadIdx.x % kLanes; }
__device__ __forceinline__ unsigned warp_index() { return threadIdx.x / kLanes; }

__device__ __forceinline__ float warp_sum(float x) {
  for (unsigned mask = kLanes / 2; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (unsigned mask = kLanes / 2; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}

// What a warp makes of x, and then of its warps' results, over the threads of a block of at most 1024, in every thread; `none` is that of
// no warp. Uses 128 bytes of shared memory from `offset` on; to be called by all threads, with a barrier before the same bytes are used again.
template <class OfWarp>
__device__ __forceinline__ float of_block(float x, int offset, float none, OfWarp of_warp) {
  const Shared<float> parts = shared<float>(offset);
  x = of_warp(x);
  if (lane_index() == 0) parts[warp_index()] = x;
  __syncthreads();
  const unsigned warps = (blockDim.x + kLanes - 1) / kLanes;
  return of_warp(lane_index() < warps ? static_cast<float>(parts[lane_index()]) : none);
}
__device__ __forceinline__ float block_sum(float x, int offset = 0) {
  return of_block(x, offset, 0, [](float of) { return warp_sum(of); });
}
__device__ __forceinline__ float block_max(float x, int offset = 0) {
  return of_block(x, offset, -INFINITY, [](float of) { return warp_max(of); });
}

// Of four lanes, lane q gets value q of each: x[i] of lane q becomes what x[q] of lane i was.
__device__ __forceinline__ void transpose_quad(uint32_t (&x)[4]) {
  const unsigned lane = lane_index();
#pragma unroll
  for (int mask = 1; mask <= 2; mask *= 2) {
    const bool upper = (lane & static_cast<unsigned>(mask)) != 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if ((i & mask) != 0) continue;
      const uint32_t got = shuffle_xor(upper ? x[i] : x[i | mask], static_cast<unsigned>(mask));
      (upper ? x[i] : x[i | mask]) = got;
    }
  }
}

// N values of a tensor as f32; where N is not 1, p is aligned to as many of them.
template <int N, class T>
__device__ __forceinline__ void load(float (&x)[N], const T* p) {
  const Pack<T, N> pack = load_pack<T, N>(p);
#pragma unroll
  for (int i = 0; i < N; i++) x[i] = to_float(pack.v[i]);
}
template <int N, class T>
__device__ __forceinline__ void store(T* p, const float (&x)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; i++) pack.v[i] = from_float<T>(x[i]);
  store_pack<T, N>(p, pack);
}

template <int N>
struct Width {
  static constexpr int value = N;
};

// body(Width<N>) where operands may be moved N elements at a time, body(Width<1>) elsewhere. N elements of what is stored are 16 bytes:
// neighbouring threads then fill a whole piece of memory at once, where 32 bytes each would leave holes between their halves.
template <class T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));
template <int N, class F>
__device__ __forceinline__ void with_width(int wide, F body) {
  if (wide) body(Width<N>{});
  else body(Width<1>{});
}

// f(i) for i = 0, N, 2N … below n, shared out over the threads of the grid.
template <int N, class F>
__device__ __forceinline__ void for_each(int64_t n, F f) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * N;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < n; i += stride) f(i);
}

// Tells the host that a value is out of range; the first to do so in a run is heard. The kernel goes on with something harmless.
__device__ __forceinline__ void report(Fault* fault, int step, int64_t position, int value) {
  if (!set_first(&fault->step, step + 1)) return;
  fault->position = position;
  fault->value = value;
}

}  // namespace slayer::cuda
