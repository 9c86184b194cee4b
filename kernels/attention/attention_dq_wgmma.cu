// The gradient of queries on Hopper's tensor cores: attention_backward_mma.cu's formulas, delta from attention_delta. A block takes 128 queries of a
// head at a time (groups.h); keys and values pass in tiles of 128. Exponentials go beside the products of values and output gradients; what
// else one warpgroup must wait for leaves the tensor cores to the other.
#include "groups.h"

namespace slayer::cuda {

constexpr int kKeyTile = 128;

template <int E>
__device__ __forceinline__ void attention_dq_wgmma(const GroupAttention& given) {
  constexpr int kStages = 2;
  using Queries = HeadPanels<E, kBlockRows>;
  using Keys = HeadPanels<E, kKeyTile>;
  constexpr int kBarriers = 2 * Queries::kBytes + kStages * 2 * Keys::kBytes;
  const Attention& args = given.attention;
  const auto queries = head_panels<E, kBlockRows>(0);
  const auto gradients = head_panels<E, kBlockRows>(Queries::kBytes);
  const auto keys = [](int n) { return head_panels<E, kKeyTile>(2 * Queries::kBytes + n % kStages * 2 * Keys::kBytes); };
  const auto values = [](int n) { return head_panels<E, kKeyTile>(2 * Queries::kBytes + (n % kStages * 2 + 1) * Keys::kBytes); };
  const Dealer dealer(kBarriers);
  const Pipe<kStages> pipe{shared<uint64_t>(kBarriers + Dealer::kBytes)};
  const Pipe<1> query_pipe{pipe.start + 2 * kStages};
  make_barriers([=] {
    dealer.make(1);
    pipe.make(1);
    query_pipe.make(1);
  });

  if (threadIdx.x < 128) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take_alone(round);
        if (work.tile < 0) return;
        const KeyTiles<kKeyTile> tiles(args, work, given.tiles, 0);
        const int kv = work.h / (args.H / args.K);
        query_pipe.wait_empty(round);
        arrive_expecting(query_pipe.full(round), 2 * Queries::kBytes);
        queries.copy(given.q, query_pipe.full(round), work.b, tiles.first_query, work.h);
        gradients.copy(given.dout, query_pipe.full(round), work.b, tiles.first_query, work.h);
        for (int tile = 0; tile < tiles.tiles; tile++, n++) {
          pipe.wait_empty(n);
          arrive_expecting(pipe.full(n), 2 * Keys::kBytes);
          keys(n).copy(given.k, pipe.full(n), work.b, tiles.key(tile), kv);
          values(n).copy(given.v, pipe.full(n), work.b, tiles.key(tile), kv);
        }
        dealer.ask();
      }
    }
    if (warp_index() == Dealer::kWarp) {
      dealer.deal(given, args.H, [&](const GroupWork& work) {
        const KeyTiles<kKeyTile> tiles(args, work, given.tiles, 0);
        const Documents own = documents(args, work.b, tiles.first_query, tiles.last_query);
        return tiles_without(args, work.b, own, tiles.from, kKeyTile, tiles.tiles, 1);
      });
    }
    return;
  }
  grow_registers<kConsumerRegisters>();

  const int row = consumer_group() * kGroupRows;
  const float unit = args.scale * kLog2e;
  for (int round = 0, n = 0;; round++) {
    const GroupWork work = dealer.take(round);
    if (work.tile < 0) return;
    const KeyTiles<kKeyTile> tiles(args, work, given.tiles, 0);
    const int first = tiles.first_query;
    const Documents own = documents(args, work.b, first, tiles.last_query);
    Counted seen[2];
    Statistic of[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int query = first + row + group_row(half);
      seen[half] = counted(args, work.b, query, keys_of(args, query));
      of[half] = statistic(args, (work.b * args.H + work.h) * args.T, query);
    }
    GroupSums<E> dq = {};
    query_pipe.wait_full(round);
    for (int tile = 0; tile < tiles.tiles; tile++, n++) {
      const int key = tiles.key(tile);
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

SLAYER_CLUSTER_KERNEL(attention_dq_wgmma_64, GroupAttention, 384, 1) { attention_dq_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_dq_wgmma_128, GroupAttention, 384, 1) { attention_dq_wgmma<128>(args); }
