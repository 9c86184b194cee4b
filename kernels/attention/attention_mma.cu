// Causal grouped-query attention on the tensor cores, after FlashAttention-2 (Dao 2023): bf16, T = 16 or more, head size E a multiple of 16
// (shipped: 64 and 128; others are compiled where they are wanted, with SLAYER_HEAD).
// Shapes are in args.h; the formulas beside the plain kernels in attention_simt.cu.
//
// A block of 4 warps takes 128 queries of one head (grid: query tiles, the last first since it sees the most; heads; B), a warp 32 of
// them. Keys and values pass by 64 at a time, the next ones on their way meanwhile (cp.async, two stages). Scores, probabilities and sums
// stay in registers; m is the largest score so far, in units of log₂, l the sum of 2^(s − m), of which each lane keeps its own part.
#include "fragments.h"

namespace slayer::cuda {

constexpr int kQueryRows = 128;
constexpr int kAttentionThreads = 128;
constexpr int kWarpTiles = 2;  // of 16 queries

template <int E>
__device__ __forceinline__ void attention_mma(const Attention& args) {
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueryRows;
  const int h = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int kv = h / (args.H / args.K);
  const int offset = position_of_first(args);
  if (offset < 0) return;
  const int warp_row = static_cast<int>(warp_index()) * 16 * kWarpTiles;

  const int rows = args.T - first < kQueryRows ? args.T - first : kQueryRows;
  const int from = keys_of(args, offset + first).first / kTileRows * kTileRows;
  const int tiles = (offset + first + rows - 1 - from) / kTileRows + 1;
  const HeadTile<E> queries{shared<bf16>(0)};
  const auto keys = [](int tile) { return HeadTile<E>{shared<bf16>(2 * kHeadColumns<E> * (kQueryRows + tile % 2 * 2 * kTileRows))}; };
  const auto values = [](int tile) { return HeadTile<E>{shared<bf16>(2 * kHeadColumns<E> * (kQueryRows + (tile % 2 * 2 + 1) * kTileRows))}; };
  const auto begin = [&](int tile) {
    const int key = from + tile * kTileRows;
    if (tile < tiles) {
      const int64_t stride = static_cast<int64_t>(args.K) * E;
      keys(tile).template copy<kTileRows, kAttentionThreads>(head_row<bf16>(args.k, b, args.S, key, args.K, kv, E), stride,
                                                             args.S - key, E);
      values(tile).template copy<kTileRows, kAttentionThreads>(head_row<bf16>(args.v, b, args.S, key, args.K, kv, E), stride,
                                                               args.S - key, E);
    }
    commit_copies();
  };
  queries.template copy<kQueryRows, kAttentionThreads>(head_row<bf16>(args.q, b, args.T, first, args.H, h, E),
                                                       static_cast<int64_t>(args.H) * E, rows, E);
  begin(0);

  const float unit = args.scale * kLog2e;
  float sums[kWarpTiles][E / 8][4] = {};
  float m[kWarpTiles][2], l[kWarpTiles][2];
#pragma unroll
  for (int t = 0; t < kWarpTiles; t++) {
    for (int half = 0; half < 2; half++) m[t][half] = -INFINITY, l[t][half] = 0;
  }
  for (int tile = 0; tile < tiles; tile++) {
    begin(tile + 1);
    wait_copies<1>();
    __syncthreads();
    const int key = from + tile * kTileRows;
    Scores all[kWarpTiles];
    multiply_rows<E>(all, queries, warp_row, keys(tile));
#pragma unroll
    for (int t = 0; t < kWarpTiles; t++) {
      const int position = offset + first + warp_row + 16 * t;
      Scores& scores = all[t];
      if (!all_seen(args, position, 16, key)) {
#pragma unroll
        for (int n = 0; n < kTileRows / 8; n++) {
#pragma unroll
          for (int i = 0; i < 4; i++) {
            if (!sees(args, b, position + fragment_row(i), key + fragment_column(n, i))) scores[n][i] = -INFINITY;
          }
        }
      }
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float most = m[t][half];
#pragma unroll
        for (int n = 0; n < kTileRows / 8; n++) {
          most = fmaxf(most, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]) * unit);
        }
        most = fmaxf(most, shuffle_xor(most, 1));
        most = fmaxf(most, shuffle_xor(most, 2));
        // Nothing seen yet: any finite reference gives zeros.
        const float reference = most == -INFINITY ? 0.0f : most;
        const float shrink = power_of_two(m[t][half] - reference);
        m[t][half] = most;
        float total = 0;
#pragma unroll
        for (int n = 0; n < kTileRows / 8; n++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float& s = scores[n][2 * half + e];
            s = power_of_two(s * unit - reference);
            total += s;
          }
        }
        l[t][half] = l[t][half] * shrink + total;
#pragma unroll
        for (int n = 0; n < E / 8; n++) {
          sums[t][n][2 * half] *= shrink;
          sums[t][n][2 * half + 1] *= shrink;
        }
      }
    }
    add_product<E>(sums, all, values(tile));
    __syncthreads();
  }
  wait_copies<0>();

#pragma unroll
  for (int t = 0; t < kWarpTiles; t++) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = l[t][half] + shuffle_xor(l[t][half], 1);
      total += shuffle_xor(total, 2);
      inverse[half] = 1 / total;
      const int row = first + warp_row + 16 * t + fragment_row(2 * half);
      if (row < args.T && lane_index() % 4 == 0) {
        args.lse[(static_cast<int64_t>(b) * args.H + h) * args.T + row] = m[t][half] * kLn2 + logf(total);
      }
    }
    store_rows<E>(sums[t], inverse, args.o, b, args.T, first + warp_row + 16 * t, args.H, h);
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

#define SLAYER_ATTENTION(E) \
  SLAYER_KERNEL(attention_mma_##E, Attention, 128) { attention_mma<E>(args); }
#include "head_sizes.h"
