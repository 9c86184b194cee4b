// Hopper's instructions: a pipeline of copies and products that follows all the rules, in every layout, and what happens when it breaks one.
#include "../../cuda/tile.h"
#include "../hopper.h"
#include "kernels.h"

namespace slayer::cuda {

enum Broken {
  kNothing,
  kNoWaitForTile,
  kNoWaitForProducts,
  kStageFreedEarly,
  kSumsReadEarly,
  kFewerArrivals,
  kWrongBytes,
  kTwiceMade,
  kNotMade,
  kNotAligned,
  kOneWarpLess,
  kNoBegin,
  kUnorderedBarrier,
  kBytesLeft,
  kNoFence,
  kRegistersReused,
  kEarlyReturn,
  kManyArrivals,
  kBarrierNotFenced,
  kBeginTooEarly,
};

// out [64, 64] = op(A)·op(B): a producer warp and a warpgroup, through two stages of 64 steps.
template <bool TransposeA, bool TransposeB>
void pipeline(const GroupCheckArgs& args) {
  constexpr int kStages = 2, kPanel = 64 * 64;
  const auto full = [](int stage) { return shared<uint64_t>(4 * kPanel * 2) + stage; };
  const auto empty = [](int stage) { return shared<uint64_t>(4 * kPanel * 2) + (kStages + stage); };
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages && args.broken != kNotMade; i++) {
      make_barrier(full(i), args.broken == kFewerArrivals ? 2 : 1);
      make_barrier(empty(i), args.broken == kManyArrivals ? 3 : 4);
    }
    if (args.broken == kTwiceMade) make_barrier(full(0), 1);
    fence_barriers();
  }
  if (args.broken != kUnorderedBarrier) __syncthreads();
  const int steps = (args.k + 63) / 64;
  const auto tile_a = [](int stage) { return shared<bf16>(stage * 2 * kPanel * 2); };
  const auto tile_b = [](int stage) { return shared<bf16>((stage * 2 + 1) * kPanel * 2); };
  if (warp_index() == 4) {
    if (lane_index() != 0) return;
    for (int step = 0; step < steps; step++) {
      const int stage = step % kStages;
      wait_at(empty(stage), ((step / kStages) & 1) ^ 1);
      arrive_expecting(full(stage), (2 * kPanel - (args.broken == kWrongBytes ? 64 : 0)) * 2);
      const int k = step * 64;
      copy_box(tile_a(stage) + (args.broken == kNotAligned ? 64 : 0), args.a, full(stage), TransposeA ? 0 : k, TransposeA ? k : 0);
      copy_box(tile_b(stage), args.b, full(stage), TransposeB ? 0 : k, TransposeB ? k : 0);
    }
    if (args.broken == kBytesLeft) arrive_expecting(full(steps % kStages), 16);
    return;
  }
  GroupSums<64> sums;
  for (float& sum : sums) sum = 1e30f;  // does not count
  for (int step = 0; step < steps; step++) {
    const int stage = step % kStages;
    if (args.broken != kNoWaitForTile) wait_at(full(stage), (step / kStages) & 1);
    if (args.broken != kNoBegin) begin_products();
    if (args.broken == kBeginTooEarly && step == 1) wait_products<0>();
    for (int k = 0; k < 64; k += 16) {
      if (args.broken == kOneWarpLess && warp_index() == 3 && k == 48) continue;
      multiply_tiles<64, TransposeA, TransposeB>(sums, tile_a(stage), 0, tile_b(stage), 0, k, step > 0 || k > 0);
    }
    commit_products();
    if ((args.broken == kNoWaitForProducts || args.broken == kSumsReadEarly) && step == steps - 1) break;
    if (args.broken != kStageFreedEarly && args.broken != kBeginTooEarly) wait_products<0>();
    if (args.broken == kBeginTooEarly && step == 0) continue;
    if (lane_index() == 0) arrive(empty(stage));
  }
  if (args.broken != kSumsReadEarly && args.broken != kNoWaitForProducts) wait_products<0>();
  settle(sums);
  const int row = static_cast<int>(warp_index()) * 16 + static_cast<int>(lane_index()) / 4;
  for (int i = 0; i < 32; i++) args.out[(row + i % 4 / 2 * 8) * 64 + i / 4 * 8 + lane_index() % 4 * 2 + i % 2] = sums[i];
  if (args.broken == kSumsReadEarly) wait_products<0>();
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(pipeline_nn, GroupCheckArgs, 160) { pipeline<false, true>(args); }
SLAYER_KERNEL(pipeline_nt, GroupCheckArgs, 160) { pipeline<false, false>(args); }
SLAYER_KERNEL(pipeline_tn, GroupCheckArgs, 160) { pipeline<true, true>(args); }
SLAYER_KERNEL(pipeline_tt, GroupCheckArgs, 160) { pipeline<true, false>(args); }

// out [64, 128] = A [64, 64]·B [64, 128]: A in registers, B written by the threads.
SLAYER_KERNEL(registers, GroupCheckArgs, 128) {
  const Tile<64> a{shared<bf16>(0)};
  const Barrier loaded = shared<uint64_t>(3 * 8192);
  if (threadIdx.x == 0) {
    make_barrier(loaded, 1);
    if (args.broken != kBarrierNotFenced) fence_barriers();
    arrive_expecting(loaded, 8192);
    copy_box(a.start, args.a, loaded, 0, 0);
  }
  for (int i = static_cast<int>(threadIdx.x); i < 64 * 128; i += 128) {
    const int k = i / 128, column = i % 128;
    const Tile<64> panel{shared<bf16>(8192 * (1 + column / 64))};
    panel.chunk(k, column % 64 / 8)[column % 8] = from_float<bf16>(static_cast<float>((k * 3 + column) % 5 - 2));
  }
  if (args.broken != kNoFence) fence_for_products();
  __syncthreads();
  wait_at(loaded, 0);
  GroupSums<128> sums = {};
  uint32_t left[4][4];
  for (int k = 0; k < 4; k++) a.a(left[args.broken == kRegistersReused ? k / 2 : k], static_cast<int>(warp_index()) * 16, 16 * k);
  begin_products();
  for (int k = 0; k < 4; k++) multiply_tiles<128, true>(sums, left[k], shared<bf16>(8192), 8192, 16 * k, true);
  commit_products();
  if (args.broken == kRegistersReused) left[0][0] = 0;
  wait_products<0>();
  const int row = static_cast<int>(warp_index()) * 16 + static_cast<int>(lane_index()) / 4;
  for (int i = 0; i < 64; i++) args.out[(row + i % 4 / 2 * 8) * 128 + i / 4 * 8 + lane_index() % 4 * 2 + i % 2] = sums[i];
}

// Two blocks, each of which copies a box of A to both: block r gives out [64, 64] of its half the box of the other.
SLAYER_CLUSTER_KERNEL(pair, GroupCheckArgs, 64, 2) {
  const Barrier full = shared<uint64_t>(2 * 8192);
  const Barrier taken = full + 1;
  const unsigned rank = cluster_rank();
  if (threadIdx.x == 0) {
    make_barrier(full, 1);
    make_barrier(taken, 2);
    fence_barriers();
  }
  if (args.broken == kUnorderedBarrier) __syncthreads();
  else cluster_barrier();
  if (threadIdx.x == 0) {
    copy_box_to_both(shared<bf16>(static_cast<int>(rank) * 8192), args.a, full, 0, static_cast<int>(rank) * 64);
    arrive_expecting(full, 2 * 8192);
  }
  wait_at(full, 0);
  const Tile<64> other{shared<bf16>(static_cast<int>(1 - rank) * 8192)};
  for (int i = static_cast<int>(threadIdx.x); i < 64 * 64; i += 64) {
    args.out[static_cast<int>(rank) * 64 * 64 + i] = to_float(other.chunk(i / 64, i % 64 / 8)[i % 8]);
  }
  if (lane_index() == 0) arrive_at(taken, 1 - rank);
  if (args.broken != kEarlyReturn) cluster_barrier();
}
