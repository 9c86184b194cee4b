// Attention one row at a time, for any head size up to 256 and any type: what attention_simt.cu's kernels have in common. A warp
// takes one row; its lanes take 32 rows of the other side for the products, and 32 columns at a time for the sums.
#pragma once

#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kMostHead = 256;
constexpr int kHeadParts = kMostHead / kLanes;
constexpr int kRowWarps = 4;
constexpr float kLn2 = 0.6931471805599453f;

// The keys first … last that a query at `position` sees, segments aside.
struct Span {
  int first, last;
};
__device__ __forceinline__ Span keys_of(const Attention& args, int position) {
  const int first = args.window > 0 && position - args.window + 1 > 0 ? position - args.window + 1 : 0;
  return {first, position};
}
// The queries that see key j: those that follow it, as far as the window reaches. Only without an offset.
__device__ __forceinline__ Span queries_of(const Attention& args, int j) {
  const int last = args.window > 0 && j + args.window < args.T ? j + args.window - 1 : args.T - 1;
  return {j, last};
}

// The position of query 0, or −1 after a report if the cache has no room for the rows.
__device__ __forceinline__ int position_of_first(const Attention& args) {
  if (args.offset == nullptr) return 0;
  const int offset = *args.offset;
  if (offset >= 0 && offset + args.T <= args.S) return offset;
  if (threadIdx.x == 0) report(args.fault, args.step, 0, offset);
  return -1;
}

// Whether query i and key j of batch entry b belong to one document.
__device__ __forceinline__ bool same_segment(const Attention& args, int b, int i, int j) {
  return args.segments == nullptr || args.segments[b * args.S + i] == args.segments[b * args.S + j];
}

// Row `row` of batch entry b, head h, where a row holds `heads` heads of E.
template <class T>
__device__ __forceinline__ const T* head_row(const void* data, int b, int rows, int row, int heads, int h, int E) {
  return static_cast<const T*>(data) + ((static_cast<int64_t>(b) * rows + row) * heads + h) * E;
}

// Puts a row of E elements, as f32 and scaled, where the warp keeps its row number `slot`.
template <class T>
__device__ __forceinline__ Shared<float> keep_row(const T* row, int E, float scale, int slot, int slots) {
  const Shared<float> at = shared<float>(0) + (static_cast<int>(warp_index()) * slots + slot) * kMostHead;
  for (int e = static_cast<int>(lane_index()); e < E; e += kLanes) at[e] = to_float(row[e]) * scale;
  return at;
}

template <class T>
__device__ __forceinline__ float dot(Shared<float> kept, const T* row, int E) {
  float sum = 0;
  for (int e = 0; e < E; e++) sum += kept[e] * to_float(row[e]);
  return sum;
}

// sums[i] += Σ over the lanes of weight·row(lane)[lane_index() + 32·i]; rows of lanes whose weight is 0 are not touched.
template <class RowOf>
__device__ __forceinline__ void add_weighted(float (&sums)[kHeadParts], float weight, int E, RowOf row_of) {
  for (unsigned other = 0; other < kLanes; other++) {
    const float w = shuffle(weight, other);
    if (w == 0) continue;
    const auto* const row = row_of(other);
#pragma unroll
    for (int i = 0; i < kHeadParts; i++) {
      const int e = static_cast<int>(lane_index() + kLanes * i);
      if (e < E) sums[i] += w * to_float(row[e]);
    }
  }
}

template <class T>
__device__ __forceinline__ void store_row(const float (&sums)[kHeadParts], float scale, void* data, int64_t at, int E) {
#pragma unroll
  for (int i = 0; i < kHeadParts; i++) {
    const int e = static_cast<int>(lane_index() + kLanes * i);
    if (e < E) static_cast<T*>(data)[at + e] = from_float<T>(sums[i] * scale);
  }
}

}  // namespace slayer::cuda
