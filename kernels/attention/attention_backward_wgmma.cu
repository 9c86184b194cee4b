// The gradient of attention_wgmma.cu's attention, on Hopper's tensor cores; formulas and the two kernels as in attention_backward_mma.cu,
// blocks as in groups.h. delta comes from attention_delta.
//
//   attention_dkv_wgmma: a block per 128 keys of a kv head; queries and output gradients pass in tiles of 64, for one head after the other
//   attention_dq_wgmma:  a block per 128 queries of a head; keys and values pass in tiles of 128
//
// Scores are made where the sums want them as a left operand: in the first kernel transposed. Exponentials go beside the products of
// values and output gradients; what else one warpgroup must wait for leaves the tensor cores to the other.
#include "groups.h"

namespace slayer::cuda {

constexpr int kQueryTile = 64;
constexpr int kKeyTile = 128;

// 2^(s − lse) from scores s·unit, and then ds = p (dp − delta).
struct Statistic {
  float lse;  // in units of log₂; ∞ where there is no query, which makes p 0
  float delta;
};
__device__ __forceinline__ Statistic statistic(const Attention& args, int64_t head, int query) {
  if (query >= args.T) return {INFINITY, 0};
  return {args.lse[head + query] * kLog2e, args.delta[head + query]};
}

// The tiles of queries that see any of 128 keys, from the diagonal on.
struct QueryTiles {
  int first, last, tiles;  // key first and last

  __device__ __forceinline__ QueryTiles(const Attention& args, const GroupWork& work) {
    first = work.tile * kBlockRows;
    last = min(first + kBlockRows, args.S) - 1;
    tiles = (queries_of(args, last).last - first) / kQueryTile + 1 - work.skipped;
  }
};

template <int E>
__device__ __forceinline__ void attention_dkv_wgmma(const GroupAttention& given) {
  constexpr int kStages = E == 64 ? 4 : 3;
  using Keys = HeadPanels<E, kBlockRows>;
  using Queries = HeadPanels<E, kQueryTile>;
  constexpr int kStatisticBytes = 8 * kQueryTile;
  constexpr int kStatistics = 2 * Keys::kBytes + 2 * kStages * Queries::kBytes;  // where they begin
  constexpr int kBarriers = kStatistics + kStages * kStatisticBytes;
  const Attention& args = given.attention;
  const int group = args.H / args.K;
  const auto keys = head_panels<E, kBlockRows>(0);
  const auto values = head_panels<E, kBlockRows>(Keys::kBytes);
  const auto queries = [](int n) { return head_panels<E, kQueryTile>(2 * Keys::kBytes + n % kStages * 2 * Queries::kBytes); };
  const auto gradients = [](int n) { return head_panels<E, kQueryTile>(2 * Keys::kBytes + (n % kStages * 2 + 1) * Queries::kBytes); };
  const auto statistics = [](int n) { return shared<float>(kStatistics + n % kStages * kStatisticBytes); };
  const Dealer dealer{{shared<uint64_t>(kBarriers)}, shared<int>(kBarriers + Pipe<2>::kBytes)};
  const Pipe<kStages> pipe{shared<uint64_t>(kBarriers + Dealer::kBytes)};
  const Pipe<1> key_pipe{pipe.start + 2 * kStages};
  if (threadIdx.x == 0) {
    dealer.make(2);
    pipe.make(1 + kLanes);
    key_pipe.make(1);
    fence_barriers();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    // With fewer than 240 for the sums of 128 columns each product would be waited for. What that costs the others is kept in memory.
    shrink_registers<E == 64 ? kProducerRegisters : 24>();
    if (threadIdx.x == 0) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take(round);
        dealer.pipe.release(round);
        if (work.tile < 0) return;
        const QueryTiles tiles(args, work);
        key_pipe.wait_empty(round);
        arrive_expecting(key_pipe.full(round), 2 * Keys::kBytes);
        keys.copy(given.k, key_pipe.full(round), work.b, tiles.first, work.h);
        values.copy(given.v, key_pipe.full(round), work.b, tiles.first, work.h);
        for (int h = work.h * group; h < (work.h + 1) * group; h++) {
          for (int tile = 0; tile < tiles.tiles; tile++, n++) {
            const int query = tiles.first + tile * kQueryTile;
            pipe.wait_empty(n);
            arrive_expecting(pipe.full(n), 2 * Queries::kBytes);
            queries(n).copy(given.q, pipe.full(n), work.b, query, h);
            gradients(n).copy(given.dout, pipe.full(n), work.b, query, h);
          }
        }
      }
    }
    if (warp_index() == 1) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take(round);
        __syncwarp();
        dealer.pipe.release(round);
        if (work.tile < 0) return;
        const QueryTiles tiles(args, work);
        for (int h = work.h * group; h < (work.h + 1) * group; h++) {
          const int64_t head = (static_cast<int64_t>(work.b) * args.H + h) * args.T;
          for (int query = tiles.first; query < tiles.first + tiles.tiles * kQueryTile; query += kQueryTile, n++) {
            pipe.wait_empty(n);
#pragma unroll 1  // registers are few here
            for (int i = static_cast<int>(lane_index()); i < kQueryTile; i += kLanes) {
              const Statistic of = statistic(args, head, query + i);
              statistics(n)[2 * i] = of.lse;
              statistics(n)[2 * i + 1] = of.delta;
            }
            arrive(pipe.full(n));
          }
        }
      }
    }
    if (warp_index() == Dealer::kWarp) {
      dealer.deal(given, (args.S + kBlockRows - 1) / kBlockRows, args.K, [&](const GroupWork& work) {
        const QueryTiles tiles(args, work);
        const Documents own = documents(args, work.b, tiles.first, tiles.last);
        return tiles_without(args, work.b, own, tiles.first, kQueryTile, tiles.tiles, -1);
      });
    }
    return;
  }
  grow_registers<E == 64 ? kConsumerRegisters : 240>();

  const int row = (static_cast<int>(threadIdx.x) / 128 - 1) * kGroupRows;
  const float unit = args.scale * kLog2e;
  for (int round = 0, n = 0;; round++) {
    const GroupWork work = dealer.take(round);
    __syncwarp();
    dealer.pipe.release(round);
    if (work.tile < 0) return;
    const QueryTiles tiles(args, work);
    const int first = tiles.first;
    const Documents own = documents(args, work.b, first, tiles.last);
    Counted seen[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int at = first + row + group_row(half);
      seen[half] = counted(args, work.b, at, queries_of(args, at));
    }
    GroupSums<E> dk = {};
    GroupSums<E> dv = {};
    key_pipe.wait_full(round);
    int query = first;
    for (const int end = n + tiles.tiles * group; n < end; n++) {
      GroupSums<kQueryTile> p, ds;  // keys in rows, queries in columns
      uint32_t weights[kQueryTile / 16][4], changes[kQueryTile / 16][4];
      pipe.wait_full(n);
      begin_products();
      begin_scores(p, keys, row, queries(n));
      begin_scores(ds, values, row, gradients(n));
      wait_products<1>();
      settle(p);
      const bool all = all_count(args, query, kQueryTile, first + row, kGroupRows) &&
                       all_of(args, work.b, own, query, min(query + kQueryTile, args.T) - 1);
      if (!all) hide<kQueryTile>(args, work.b, p, seen, query);
      const Shared<float> of = statistics(n) + 2 * group_column();
#pragma unroll
      for (int j = 0; j < kQueryTile / 8; j++) {
        const Pack<float, 4> s = load_four(of + 16 * j);
#pragma unroll
        for (int i = 0; i < 4; i++) p[4 * j + i] = power_of_two(p[4 * j + i] * unit - s.v[i % 2 * 2]);
      }
      pack_weights<kQueryTile>(weights, p);
      begin_products();
      begin_sums<E>(dv, weights, gradients(n));
      wait_products<1>();
      settle(ds);
      if (n == end - 1) key_pipe.release(round);
#pragma unroll
      for (int j = 0; j < kQueryTile / 8; j++) {
        const Pack<float, 4> s = load_four(of + 16 * j);
#pragma unroll
        for (int i = 0; i < 4; i++) ds[4 * j + i] = p[4 * j + i] * (ds[4 * j + i] - s.v[i % 2 * 2 + 1]);
      }
      pack_weights<kQueryTile>(changes, ds);
      begin_products();
      begin_sums<E>(dk, changes, queries(n));
      wait_products<0>();
      settle(dv);
      settle(dk);
      pipe.release(n);
      query += kQueryTile;
      if (query == first + tiles.tiles * kQueryTile) query = first;
    }
    store_group<E>(dk, {args.scale, args.scale}, args.dk, work.b, args.S, first + row, args.K, work.h);
    store_group<E>(dv, {1, 1}, args.dv, work.b, args.S, first + row, args.K, work.h);
  }
}

// The tiles of keys that 128 queries see any of.
struct KeyTiles {
  int first, last, from, tiles;  // query first and last

  __device__ __forceinline__ KeyTiles(const Attention& args, const GroupWork& work, int query_tiles) {
    first = (query_tiles - 1 - work.tile) * kBlockRows;
    last = min(first + kBlockRows, args.T) - 1;
    from = keys_of(args, first).first / kKeyTile * kKeyTile + work.skipped * kKeyTile;
    tiles = (last - from) / kKeyTile + 1;
  }
};

template <int E>
__device__ __forceinline__ void attention_dq_wgmma(const GroupAttention& given) {
  constexpr int kStages = 2;
  using Queries = HeadPanels<E, kBlockRows>;
  using Keys = HeadPanels<E, kKeyTile>;
  constexpr int kBarriers = 2 * Queries::kBytes + kStages * 2 * Keys::kBytes;
  const Attention& args = given.attention;
  const int query_tiles = (args.T + kBlockRows - 1) / kBlockRows;
  const auto queries = head_panels<E, kBlockRows>(0);
  const auto gradients = head_panels<E, kBlockRows>(Queries::kBytes);
  const auto keys = [](int n) { return head_panels<E, kKeyTile>(2 * Queries::kBytes + n % kStages * 2 * Keys::kBytes); };
  const auto values = [](int n) { return head_panels<E, kKeyTile>(2 * Queries::kBytes + (n % kStages * 2 + 1) * Keys::kBytes); };
  const Dealer dealer{{shared<uint64_t>(kBarriers)}, shared<int>(kBarriers + Pipe<2>::kBytes)};
  const Pipe<kStages> pipe{shared<uint64_t>(kBarriers + Dealer::kBytes)};
  const Pipe<1> query_pipe{pipe.start + 2 * kStages};
  if (threadIdx.x == 0) {
    dealer.make(1);
    pipe.make(1);
    query_pipe.make(1);
    fence_barriers();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take(round);
        dealer.pipe.release(round);
        if (work.tile < 0) return;
        const KeyTiles tiles(args, work, query_tiles);
        const int kv = work.h / (args.H / args.K);
        query_pipe.wait_empty(round);
        arrive_expecting(query_pipe.full(round), 2 * Queries::kBytes);
        queries.copy(given.q, query_pipe.full(round), work.b, tiles.first, work.h);
        gradients.copy(given.dout, query_pipe.full(round), work.b, tiles.first, work.h);
        for (int tile = 0; tile < tiles.tiles; tile++, n++) {
          pipe.wait_empty(n);
          arrive_expecting(pipe.full(n), 2 * Keys::kBytes);
          keys(n).copy(given.k, pipe.full(n), work.b, tiles.from + tile * kKeyTile, kv);
          values(n).copy(given.v, pipe.full(n), work.b, tiles.from + tile * kKeyTile, kv);
        }
      }
    }
    if (warp_index() == Dealer::kWarp) {
      dealer.deal(given, query_tiles, args.H, [&](const GroupWork& work) {
        const KeyTiles tiles(args, work, query_tiles);
        const Documents own = documents(args, work.b, tiles.first, tiles.last);
        return tiles_without(args, work.b, own, tiles.from, kKeyTile, tiles.tiles, 1);
      });
    }
    return;
  }
  grow_registers<kConsumerRegisters>();

  const int row = (static_cast<int>(threadIdx.x) / 128 - 1) * kGroupRows;
  const float unit = args.scale * kLog2e;
  for (int round = 0, n = 0;; round++) {
    const GroupWork work = dealer.take(round);
    __syncwarp();
    dealer.pipe.release(round);
    if (work.tile < 0) return;
    const KeyTiles tiles(args, work, query_tiles);
    const int first = tiles.first;
    const Documents own = documents(args, work.b, first, tiles.last);
    Counted seen[2];
    Statistic of[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int query = first + row + group_row(half);
      seen[half] = counted(args, work.b, query, keys_of(args, query));
      of[half] = statistic(args, (static_cast<int64_t>(work.b) * args.H + work.h) * args.T, query);
    }
    GroupSums<E> dq = {};
    query_pipe.wait_full(round);
    for (int tile = 0; tile < tiles.tiles; tile++, n++) {
      const int key = tiles.from + tile * kKeyTile;
      GroupSums<kKeyTile> p, ds;
      uint32_t changes[kKeyTile / 16][4];
      pipe.wait_full(n);
      begin_products();
      begin_scores(p, queries, row, keys(n));
      begin_scores(ds, gradients, row, values(n));
      wait_products<1>();
      settle(p);
      const bool all = all_count(args, first + row, kGroupRows, key, kKeyTile) && all_of(args, work.b, own, key, key + kKeyTile - 1);
      if (!all) hide<kKeyTile>(args, work.b, p, seen, key);
#pragma unroll
      for (int i = 0; i < kKeyTile / 2; i++) p[i] = power_of_two(p[i] * unit - of[i / 2 % 2].lse);
      settle(p);  // here: the compiler would put some of it behind the next wait
      wait_products<0>();
      settle(ds);
      if (tile == tiles.tiles - 1) query_pipe.release(round);
#pragma unroll
      for (int i = 0; i < kKeyTile / 2; i++) ds[i] = p[i] * (ds[i] - of[i / 2 % 2].delta);
      pack_weights<kKeyTile>(changes, ds);
      begin_products();
      begin_sums<E>(dq, changes, keys(n));
      wait_products<0>();
      settle(dq);
      pipe.release(n);
    }
    store_group<E>(dq, {args.scale, args.scale}, args.dq, work.b, args.T, first + row, args.H, work.h);
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_CLUSTER_KERNEL(attention_dkv_wgmma_64, GroupAttention, 384, 1) { attention_dkv_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_dkv_wgmma_128, GroupAttention, 384, 1) { attention_dkv_wgmma<128>(args); }
SLAYER_CLUSTER_KERNEL(attention_dq_wgmma_64, GroupAttention, 384, 1) { attention_dq_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_dq_wgmma_128, GroupAttention, 384, 1) { attention_dq_wgmma<128>(args); }
