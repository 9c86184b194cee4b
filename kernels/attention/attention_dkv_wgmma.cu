// Gradients of keys and values on Hopper's tensor cores: attention_backward_mma.cu's formulas, delta from attention_delta. A block takes 128 keys
// of a kv head at a time (groups.h); queries and output gradients pass in tiles of 64, for one head after the other.
//
// Scores are made transposed: as the sums want them, as a left operand. Exponentials go beside the products of values and output
// gradients, what follows beside the first sums; what else one warpgroup must wait for leaves the tensor cores to the other.
#include "groups.h"

namespace slayer::cuda {

constexpr int kQueryTile = 64;

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
  const Dealer dealer(kBarriers);
  const Pipe<kStages> pipe{shared<uint64_t>(kBarriers + Dealer::kBytes)};
  const Pipe<1> key_pipe{pipe.start + 2 * kStages};
  make_barriers([=] {
    dealer.make(2);
    pipe.make(1 + kLanes);
    key_pipe.make(1);
  });

  if (threadIdx.x < 128) {
    // With fewer than 240 for the sums of 128 columns each product would be waited for. What that costs the others is kept in memory.
    shrink_registers<E == 64 ? kProducerRegisters : 24>();
    if (threadIdx.x == 0) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take_alone(round);
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
        dealer.ask();
      }
    }
    if (warp_index() == 1) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take(round);
        if (work.tile < 0) return;
        const QueryTiles tiles(args, work);
        for (int h = work.h * group; h < (work.h + 1) * group; h++) {
          const int head = (work.b * args.H + h) * args.T;
          for (int query = tiles.first; query < tiles.first + tiles.tiles * kQueryTile; query += kQueryTile, n++) {
            pipe.wait_empty(n);
#pragma unroll 1  // registers are few here
            for (int i = static_cast<int>(lane_index()); i < kQueryTile; i += kLanes) {
              const bool inside = query + i < args.T;
              statistics(n)[2 * i] = inside ? args.lse[head + query + i] * kLog2e : INFINITY;
              statistics(n)[2 * i + 1] = inside ? args.delta[head + query + i] : 0.0f;
            }
            arrive(pipe.full(n));
          }
        }
      }
    }
    if (warp_index() == Dealer::kWarp) {
      dealer.deal(given, args.K, [&](const GroupWork& work) {
        const QueryTiles tiles(args, work);
        const Documents own = documents(args, work.b, tiles.first, tiles.last);
        return tiles_without(args, work.b, own, tiles.first, kQueryTile, tiles.tiles, -1);
      });
    }
    return;
  }
  grow_registers<E == 64 ? kConsumerRegisters : 240>();

  const int row = consumer_group() * kGroupRows;
  const float unit = args.scale * kLog2e;
  for (int round = 0, n = 0;; round++) {
    const GroupWork work = dealer.take(round);
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

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_CLUSTER_KERNEL(attention_dkv_wgmma_64, GroupAttention, 384, 1) { attention_dkv_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_dkv_wgmma_128, GroupAttention, 384, 1) { attention_dkv_wgmma<128>(args); }
