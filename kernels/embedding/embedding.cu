// embedding: y [N, D] = table [rows, D] at ids i32 [N]; y of type T, table of type W. A warp per position.
// embedding_buckets, embedding_backward: dtable [rows, D] f32, row v = Σ of dy [N, D] (type T) over the positions whose id is v, in
// order, zeros where there is none; no atomics, the same sum each time. First a block per bucket of kBucketRows rows looks through all
// ids for its own, which it lists in order of their positions. Then warps of each row, with 32·kRowPacks packs each, look through its
// bucket's for theirs.
#include "../cuda/device.h"

namespace slayer::cuda {

template <int N, class T, class W>
__device__ __forceinline__ void store_as(T* p, const Pack<W, N>& pack) {
  float x[N];
#pragma unroll
  for (int i = 0; i < N; i++) x[i] = to_float(pack.v[i]);
  store<N>(p, x);
}

constexpr int kLoads = 4;  // that a lane has on their way at once

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
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for (int64_t j = lane_index() * N; j < args.columns; j += kLoads * kLanes * N) {
      Pack<W, N> x[kLoads];
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
        if (j + l * kLanes * N < args.columns) x[l] = load_pack<W, N>(from + j + l * kLanes * N);
      }
#pragma unroll
      for (int l = 0; l < kLoads; l++) {
        if (j + l * kLanes * N < args.columns) store_as<N>(to + j + l * kLanes * N, x[l]);
      }
    }
  });
}

constexpr int kBucketThreads = 256;
constexpr int kBucketWarps = kBucketThreads / static_cast<int>(kLanes);

// f(position, id) for a warp's share of the ids, 32 at a time by its lanes; id −1 beyond the end.
template <class F>
__device__ __forceinline__ void for_ids(const EmbeddingBackward& args, F f) {
  constexpr int kAhead = 8;
  const int share = (args.positions + kBucketThreads - 1) / kBucketThreads * static_cast<int>(kLanes);
  const int first = static_cast<int>(warp_index()) * share;
  const int end = min(first + share, args.positions);
  for (int from = first; from < end; from += kAhead * static_cast<int>(kLanes)) {
    int ids[kAhead];
    const auto position = [&](int l) { return from + l * static_cast<int>(kLanes) + static_cast<int>(lane_index()); };
#pragma unroll
    for (int l = 0; l < kAhead; l++) ids[l] = position(l) < end ? args.ids[position(l)] : -1;
#pragma unroll
    for (int l = 0; l < kAhead; l++) f(position(l), ids[l]);
  }
}

__device__ __forceinline__ void sort_into_buckets(const EmbeddingBackward& args) {
  const int low = static_cast<int>(blockIdx.x) * kBucketRows;
  const int high = min(low + kBucketRows, args.rows);
  int below = 0;  // ids of earlier buckets, of the lane
  int own = 0;    // of the bucket, of the warp
  for_ids(args, [&](int, int id) {
    below += id >= 0 && id < low;
    own += count_bits(ballot(id >= low && id < high));
  });
  const Shared<int> counts = shared<int>(0);
  counts[threadIdx.x] = below;
  if (lane_index() == 0) counts[kBucketThreads + warp_index()] = own;
  __syncthreads();
  int start = 0;
  for (int i = static_cast<int>(lane_index()); i < kBucketThreads; i += kLanes) start += counts[i];
  for (unsigned mask = kLanes / 2; mask > 0; mask /= 2) start += shuffle_xor(start, mask);
  int at = start;
  int end = start;
  for (int warp = 0; warp < kBucketWarps; warp++) {
    if (warp < static_cast<int>(warp_index())) at += counts[kBucketThreads + warp];
    end += counts[kBucketThreads + warp];
  }
  if (threadIdx.x == 0) {
    args.starts[blockIdx.x] = start;
    args.starts[blockIdx.x + 1] = end;  // as the next block says too
  }
  for_ids(args, [&](int position, int id) {
    const bool mine = id >= low && id < high;
    const uint32_t all = ballot(mine);
    if (mine) args.sorted[at + count_bits(all & ((1u << lane_index()) - 1))] = {id, position};
    at += count_bits(all);
  });
}

constexpr int kRowPacks = 4;  // of a lane
constexpr int kTogether = 4;  // rows of dy that are on their way at once

template <class T>
__device__ __forceinline__ void embedding_backward(const EmbeddingBackward& args) {
  const int row = static_cast<int>(blockIdx.x);
  const int first = args.starts[row / kBucketRows];
  const int last = args.starts[row / kBucketRows + 1];
  const int lane = static_cast<int>(lane_index());
  // The warp's: positions that were found and are not added yet, fewer than kTogether and those of 32 entries.
  const Shared<int> found = shared<int>(0) + static_cast<int>(warp_index() * 2 * kLanes);
  with_width<kPack<float>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    constexpr int kStep = static_cast<int>(kLanes) * N;
    const int64_t warp = static_cast<int64_t>(blockIdx.y) * (blockDim.x / kLanes) + warp_index();
    const int64_t j = warp * kStep * kRowPacks + lane * N;
    float sums[kRowPacks][N] = {};
    const auto add = [&](int from, auto many) {
      constexpr int Many = decltype(many)::value;
      Pack<T, N> x[Many][kRowPacks];
#pragma unroll
      for (int m = 0; m < Many; m++) {
        const T* const dy = static_cast<const T*>(args.dy) + found[from + m] * args.columns;
#pragma unroll
        for (int p = 0; p < kRowPacks; p++) x[m][p] = load_pack<T, N>(dy + min(j + p * kStep, args.columns - N));
      }
#pragma unroll
      for (int m = 0; m < Many; m++) {
#pragma unroll
        for (int p = 0; p < kRowPacks; p++) {
#pragma unroll
          for (int k = 0; k < N; k++) sums[p][k] += to_float(x[m][p].v[k]);
        }
      }
    };
    const auto entry = [&](int i) { return i + lane < last ? args.sorted[i + lane] : RowOfPosition{-1, 0}; };
    int waiting = 0;
    RowOfPosition next = entry(first);
    for (int i = first; i < last; i += kLanes) {
      const RowOfPosition mine = next;
      next = entry(i + static_cast<int>(kLanes));
      const uint32_t matches = ballot(mine.row == row);
      if (matches == 0) continue;
      if (mine.row == row) found[waiting + count_bits(matches & ((1u << lane) - 1))] = mine.position;
      waiting += count_bits(matches);
      __syncwarp();
      int done = 0;
      for (; done + kTogether <= waiting; done += kTogether) add(done, Width<kTogether>{});
      waiting -= done;
      const int kept = lane < waiting ? static_cast<int>(found[done + lane]) : 0;
      __syncwarp();
      if (lane < waiting) found[lane] = kept;
    }
    __syncwarp();
    for (int i = 0; i < waiting; i++) add(i, Width<1>{});
    float* const to = args.dtable + row * args.columns;
#pragma unroll
    for (int p = 0; p < kRowPacks; p++) {
      if (j + p * kStep < args.columns) store<N>(to + j + p * kStep, sums[p]);
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(embedding_f32_f32, Embedding, 256) { embedding<float, float>(args); }
SLAYER_KERNEL(embedding_f32_bf16, Embedding, 256) { embedding<float, bf16>(args); }
SLAYER_KERNEL(embedding_bf16_f32, Embedding, 256) { embedding<bf16, float>(args); }
SLAYER_KERNEL(embedding_bf16_bf16, Embedding, 256) { embedding<bf16, bf16>(args); }
SLAYER_KERNEL(embedding_buckets, EmbeddingBackward, 256) { sort_into_buckets(args); }
SLAYER_KERNEL(embedding_backward_f32, EmbeddingBackward, 128) { embedding_backward<float>(args); }
SLAYER_KERNEL(embedding_backward_bf16, EmbeddingBackward, 128) { embedding_backward<bf16>(args); }
