#include "../../cuda/tile.h"
#include "kernels.h"

using namespace slayer::cuda;

// out[t] = t + out of the neighbour's slot, after a barrier.
SLAYER_KERNEL(neighbours, CheckArgs, 64) {
  const Shared<float> slots = shared<float>(0);
  slots[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  args.out[threadIdx.x] = slots[(threadIdx.x + 1) % blockDim.x];
}

SLAYER_KERNEL(neighbours_without_barrier, CheckArgs, 64) {
  const Shared<float> slots = shared<float>(0);
  slots[threadIdx.x] = static_cast<float>(threadIdx.x);
  args.out[threadIdx.x] = slots[(threadIdx.x + 1) % blockDim.x];
}

// A warp's own barrier orders its lanes, but not two warps.
SLAYER_KERNEL(neighbours_in_warp, CheckArgs, 64) {
  const Shared<float> slots = shared<float>(0);
  slots[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncwarp();
  args.out[threadIdx.x] = slots[threadIdx.x ^ 1];
}
SLAYER_KERNEL(neighbours_across_warps, CheckArgs, 64) {
  const Shared<float> slots = shared<float>(0);
  slots[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncwarp();
  args.out[threadIdx.x] = slots[threadIdx.x ^ 32];
}

SLAYER_KERNEL(overwritten_while_read, CheckArgs, 64) {
  const Shared<float> slots = shared<float>(0);
  slots[threadIdx.x] = 1;
  __syncthreads();
  const float read = slots[(threadIdx.x + 1) % blockDim.x];
  slots[threadIdx.x] = read;
}

SLAYER_KERNEL(never_written, CheckArgs, 64) { args.out[threadIdx.x] = shared<float>(0)[threadIdx.x]; }

SLAYER_KERNEL(beyond_shared_memory, CheckArgs, 64) { shared<float>(0)[4096] = 1; }

SLAYER_KERNEL(barrier_in_a_branch, CheckArgs, 64) {
  if (threadIdx.x == 0) shuffle(1, 0);
  __syncthreads();
}

SLAYER_KERNEL(copy_not_waited_for, CheckArgs, 64) {
  const Shared<bf16> row = shared<bf16>(0);
  if (threadIdx.x == 0) {
    copy_async(row, args.a, true);
    commit_copies();
    args.out[0] = to_float(row[0]);
    wait_copies<0>();
  }
}

SLAYER_KERNEL(copy_without_barrier, CheckArgs, 64) {
  const Shared<bf16> row = shared<bf16>(0);
  if (threadIdx.x == 0) {
    copy_async(row, args.a, true);
    commit_copies();
    wait_copies<0>();
  }
  __syncwarp();
  if (threadIdx.x == 32) args.out[0] = to_float(row[0]);
}

SLAYER_KERNEL(copy_not_aligned, CheckArgs, 64) {
  if (threadIdx.x == 0) {
    copy_async(shared<bf16>(0), args.a + 1, true);
    commit_copies();
    wait_copies<0>();
  }
}

SLAYER_KERNEL(votes, CheckArgs, 64) {
  args.out[threadIdx.x] = static_cast<float>(ballot(threadIdx.x % 4 == 1) & 0xffffu) + shuffle_xor(static_cast<float>(threadIdx.x), 3);
}

// out [16, 64] = A [16, 64] · B, B given as [k, n], or as [n, k] if transposed; through tiles in shared memory and fragments.
SLAYER_KERNEL(product, CheckArgs, 32) {
  const Tile<64> a{shared<bf16>(0)};
  const Tile<64> b{shared<bf16>(2 * 16 * 64)};
  a.copy<16, 32>(args.a, 64, 16, 64);
  b.copy<64, 32>(args.b, 64, 64, 64);
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  const int lane = static_cast<int>(lane_index());
  for (int n = 0; n < 64; n += 16) {
    float sums[2][4] = {};
    for (int k = 0; k < 64; k += 16) {
      uint32_t left[4], right[4];
      a.a(left, 0, k);
      if (args.transposed) b.b(right, n, k);
      else b.b_transposed(right, k, n);
      multiply_accumulate(sums[0], left, right[0], right[1]);
      multiply_accumulate(sums[1], left, right[2], right[3]);
    }
    for (int i = 0; i < 8; i++) {
      args.out[(lane / 4 + i % 4 / 2 * 8) * 64 + n + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i / 4][i % 4];
    }
  }
}

// out [64, 64] = Aᵀ [64, 16] · A [16, 64], so that A is also a transposed left operand.
SLAYER_KERNEL(gram, CheckArgs, 32) {
  const Tile<64> a{shared<bf16>(0)};
  a.copy<16, 32>(args.a, 64, 16, 64);
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  const int lane = static_cast<int>(lane_index());
  for (int m = 0; m < 64; m += 16) {
    for (int n = 0; n < 64; n += 16) {
      uint32_t left[4], right[4];
      float sums[2][4] = {};
      a.a_transposed(left, 0, m);
      a.b_transposed(right, 0, n);
      multiply_accumulate(sums[0], left, right[0], right[1]);
      multiply_accumulate(sums[1], left, right[2], right[3]);
      for (int i = 0; i < 8; i++) {
        args.out[(m + lane / 4 + i % 4 / 2 * 8) * 64 + n + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i / 4][i % 4];
      }
    }
  }
}
