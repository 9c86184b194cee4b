// Sums over rows in two launches, without atomics, so that they come out the same each time: each block sums a chunk of rows for
// its columns, then the chunks are added in order.
#pragma once

#include "device.h"

namespace slayer::cuda {

// partial[chunk, j] = Σ f(i, j) over the rows of chunk blockIdx.y; a thread per column.
template <class F>
__device__ __forceinline__ void sum_chunk(const ColumnSums& args, F f) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= args.columns) return;
  const int64_t first = blockIdx.y * args.rows_per_chunk;
  const int64_t last = first + args.rows_per_chunk < args.rows ? first + args.rows_per_chunk : args.rows;
  float sum = 0;
#pragma unroll 4
  for (int64_t i = first; i < last; i++) sum += f(i, j);
  args.partial[blockIdx.y * args.columns + j] = sum;
}

template <class T>
__device__ __forceinline__ void add_chunks(const ColumnTotals& args) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= args.columns) return;
  float sum = 0;
  for (int chunk = 0; chunk < args.chunks; chunk++) sum += args.partial[chunk * args.columns + j];
  static_cast<T*>(args.y)[j] = from_float<T>(sum);
}

}  // namespace slayer::cuda
