// Which scores count, and which tiles have any that do, where a warpgroup holds scores (Hopper).
#pragma once

#include "../cuda/hopper.h"
#include "rows.h"

namespace slayer::cuda {

// Which of its warpgroup's rows (half 0 or 1) and which of 8 columns, with the next one, this thread holds.
__device__ __forceinline__ int group_row(int half) {
  return static_cast<int>(warp_index()) % 4 * 16 + static_cast<int>(lane_index()) / 4 + 8 * half;
}
__device__ __forceinline__ int group_column() { return static_cast<int>(lane_index()) % 4 * 2; }

// The columns that count for a row, first … last, and of this document.
struct Counted {
  Span span;
  int segment;
};
// Of a query at position `row`, and of a key: `span` of the other side.
__device__ __forceinline__ Counted counted(const Attention& args, int b, int row, const Span& span) {
  if (row >= args.S) return {{0, -1}, 0};
  return {span, args.segments == nullptr ? 0 : args.segments[b * args.S + row]};
}

// Scores that do not count become −∞; column 0 is row `first` of the other side. Bits first, then scores: that takes few registers.
template <int N>
__device__ __forceinline__ void hide(const Attention& args, int b, GroupSums<N>& scores, const Counted (&rows)[2], int first) {
  static_assert(N <= 128, "a bit for each of a thread's columns");
  const int column = first + group_column();
  uint32_t counts[2] = {};
#pragma unroll 4
  for (int j = 0; j < N / 4; j++) {
    const int other = column + 8 * (j / 2) + j % 2;
    const int segment = args.segments == nullptr ? 0 : args.segments[b * args.S + min(other, args.S - 1)];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const auto& [span, own] = rows[half];
      counts[half] |= static_cast<uint32_t>(other >= span.first && other <= span.last && segment == own) << j;
    }
  }
#pragma unroll
  for (int i = 0; i < N / 2; i++) {
    if ((counts[i / 2 % 2] >> (i / 4 * 2 + i % 2) & 1) == 0) scores[i] = -INFINITY;
  }
}

// The least and the most of the documents' numbers among rows first … last.
struct Documents {
  int least, most;
};
// By a whole warp, as all of what follows.
__device__ __forceinline__ Documents documents(const Attention& args, int b, int first, int last) {
  if (args.segments == nullptr) return {0, 0};
  const int32_t* const segments = args.segments + b * args.S;
  Documents found = {segments[first], segments[first]};
#pragma unroll 1
  for (int row = first + static_cast<int>(lane_index()); row <= last; row += kLanes) {
    found = {min(found.least, segments[row]), max(found.most, segments[row])};
  }
#pragma unroll 1
  for (unsigned mask = kLanes / 2; mask > 0; mask /= 2) {
    found = {min(found.least, shuffle_xor(found.least, mask)), max(found.most, shuffle_xor(found.most, mask))};
  }
  return found;
}

// Whether a row of first … last may belong to one of `own`; whether they all belong to the only one.
__device__ __forceinline__ bool any_of(const Attention& args, int b, const Documents& own, int first, int last) {
  const Documents other = documents(args, b, first, min(last, args.S - 1));
  return other.least <= own.most && other.most >= own.least;
}
__device__ __forceinline__ bool all_of(const Attention& args, int b, const Documents& own, int first, int last) {
  if (args.segments == nullptr) return true;
  if (own.least != own.most) return false;
  const Documents other = documents(args, b, first, last);
  return other.least == own.least && other.most == own.least;
}

// Of tiles of `rows` rows from row `from` on, how many at the beginning (step 1) or the end (step −1) have none of `own`; the other end has one.
__device__ __forceinline__ int tiles_without(const Attention& args, int b, const Documents& own, int from, int rows, int tiles, int step) {
  if (args.segments == nullptr) return 0;
  int count = 0;
#pragma unroll 1
  for (; count < tiles - 1; count++) {
    const int first = from + (step > 0 ? count : tiles - 1 - count) * rows;
    if (any_of(args, b, own, first, first + rows - 1)) break;
  }
  return count;
}

// Whether all of `queries` positions from `position` on see all of `keys` keys from `key` on, by place.
__device__ __forceinline__ bool all_count(const Attention& args, int position, int queries, int key, int keys) {
  return key + keys - 1 <= position && (args.window == 0 || key > position + queries - 1 - args.window);
}

}  // namespace slayer::cuda
