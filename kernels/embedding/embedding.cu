// embedding: y [N, D] = table [rows, D] at ids i32 [N]; y of type T, table of type W. A warp per position.
// embedding_backward: dtable [rows, D] f32, row v = Σ of dy [N, D] (type T) over the positions whose id is v. A block per row of the
// table: each warp looks through all ids, 32 at a time, and adds where they match, in order: no atomics, the same sum each time. Reads rows·N ids, from L2; every row is written, zeros where an id never occurs.
#include "../cuda/device.h"

namespace slayer::cuda {

template <class T, class W>
__device__ __forceinline__ void embedding(const Embedding& args) {
  const int64_t position = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kLanes) + warp_index();
  if (position >= args.positions) return;
  int id = args.ids[position];
  if (id < 0 || id >= args.rows) {
    if (lane_index() == 0) report(args.fault, args.step, position, id);
    id = 0;
  }
  const W* const from = static_cast<const W*>(args.table) + id * args.columns;
  T* const to = static_cast<T*>(args.y) + position * args.columns;
  for (int64_t j = lane_index(); j < args.columns; j += kLanes) to[j] = from_float<T>(to_float(from[j]));
}

constexpr int kBatch = 32;  // columns that a thread sums in one pass over the ids, a block's width apart

template <class T>
__device__ __forceinline__ void embedding_backward(const Embedding& args) {
  const int row = static_cast<int>(blockIdx.x);
  const int64_t D = args.columns;
  const int64_t width = blockDim.x;
  for (int64_t first = 0; first < D; first += kBatch * width) {
    float sums[kBatch] = {};
    for (int64_t n = 0; n < args.positions; n += kLanes) {
      const int64_t mine = n + lane_index();
      uint32_t matches = ballot(mine < args.positions && args.ids[mine] == row);
      for (unsigned k = 0; matches != 0; k++, matches >>= 1) {
        if ((matches & 1) == 0) continue;
        const T* const from = static_cast<const T*>(args.table) + (n + k) * D;
#pragma unroll
        for (int i = 0; i < kBatch; i++) {
          const int64_t j = first + i * width + threadIdx.x;
          if (j < D) sums[i] += to_float(from[j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; i++) {
      const int64_t j = first + i * width + threadIdx.x;
      if (j < D) static_cast<float*>(args.y)[row * D + j] = sums[i];
    }
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(embedding_f32_f32, Embedding, 128) { embedding<float, float>(args); }
SLAYER_KERNEL(embedding_f32_bf16, Embedding, 128) { embedding<float, bf16>(args); }
SLAYER_KERNEL(embedding_bf16_f32, Embedding, 128) { embedding<bf16, float>(args); }
SLAYER_KERNEL(embedding_bf16_bf16, Embedding, 128) { embedding<bf16, bf16>(args); }
SLAYER_KERNEL(embedding_backward_f32, Embedding, 128) { embedding_backward<float>(args); }
SLAYER_KERNEL(embedding_backward_bf16, Embedding, 128) { embedding_backward<bf16>(args); }
