// Sums over rows in two launches, without atomics, so that they come out the same each time: each block sums a chunk of rows for
// its columns, then the chunks are added. A block has kSumWarps warps, which share out its rows; what they found is added in order.
#pragma once

#include "device.h"

namespace slayer::cuda {

constexpr int kSumWarps = 8;

// y[j] = Σ over the warps of sums[j − first], for the block's N·32 columns from `first` on; lane l of each warp has columns l·N … of
// its own sums. store(j, sum).
template <int N, class F>
__device__ __forceinline__ void add_warps(const float (&sums)[N], int64_t columns, F store) {
  const Shared<float> parts = shared<float>(0);
#pragma unroll
  for (int k = 0; k < N; k++) parts[(warp_index() * kLanes + lane_index()) * N + k] = sums[k];
  __syncthreads();
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kLanes * N + threadIdx.x;
  if (threadIdx.x >= kLanes * N || j >= columns) return;
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kSumWarps; warp++) sum += parts[warp * static_cast<int>(kLanes) * N + threadIdx.x];
  store(j, sum);
}

// partial[chunk, j] = Σ over the rows of chunk blockIdx.y of what f(i, j, sums) adds to the sums of columns j … j + N − 1.
template <int N, class F>
__device__ __forceinline__ void sum_chunk(const ColumnSums& args, F f) {
  const int64_t j = (static_cast<int64_t>(blockIdx.x) * kLanes + lane_index()) * N;
  const int64_t first = blockIdx.y * args.rows_per_chunk;
  const int64_t last = first + args.rows_per_chunk < args.rows ? first + args.rows_per_chunk : args.rows;
  float sums[N] = {};
  if (j < args.columns) {
#pragma unroll 4
    for (int64_t i = first + warp_index(); i < last; i += kSumWarps) f(i, j, sums);
  }
  add_warps<N>(sums, args.columns, [&](int64_t column, float sum) { args.partial[blockIdx.y * args.columns + column] = sum; });
}

template <class T>
__device__ __forceinline__ void add_chunks(const ColumnTotals& args) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kLanes + lane_index();
  float sums[1] = {};
  if (j < args.columns) {
#pragma unroll 4
    for (int chunk = static_cast<int>(warp_index()); chunk < args.chunks; chunk += kSumWarps) {
      sums[0] += args.partial[chunk * args.columns + j];
    }
  }
  add_warps<1>(sums, args.columns, [&](int64_t column, float sum) { static_cast<T*>(args.y)[column] = from_float<T>(sum); });
}

}  // namespace slayer::cuda
