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
__device__ __forceinline__ Statistic statistic(const Attention& args, int b, int h, int query) {
  if (query >= args.T) return {INFINITY, 0};
  const int64_t at = (static_cast<int64_t>(b) * args.H + h) * args.T + query;
  return {args.lse[at] * kLog2e, args.delta[at]};
}

template <int E>
struct DkvShape {
  static constexpr int kStages = E == 64 ? 4 : 3;
  using Keys = HeadPanels<E, kBlockRows>;
  using Queries = HeadPanels<E, kQueryTile>;
  static constexpr int kStatistics = 2 * Keys::kBytes + 2 * kStages * Queries::kBytes;  // where they begin
  static constexpr int kStatisticBytes = 8 * kQueryTile;
  static constexpr int kBarriers = kStatistics + kStages * kStatisticBytes;
  static constexpr int kBytes = kBarriers + 8 * (2 * kStages + 1);
};

template <int E>
__device__ __forceinline__ void attention_dkv_wgmma(const GroupAttention& given) {
  using Shape = DkvShape<E>;
  using Keys = typename Shape::Keys;
  using Queries = typename Shape::Queries;
  constexpr int kStages = Shape::kStages;
  const Attention& args = given.attention;
  const auto [tile, b, kv] = group_work(given, (args.S + kBlockRows - 1) / kBlockRows, args.K);
  const int first = tile * kBlockRows;
  const int group = args.H / args.K;

  // Queries that see any of these keys, in tiles from the diagonal on.
  const int last = min(first + kBlockRows, args.S) - 1;
  const Documents own = documents(args, b, first, last);
  const int most = (queries_of(args, last).last - first) / kQueryTile + 1;
  const int tiles = outermost_tile(args, b, own, first, kQueryTile, most, -1, Shape::kBytes) + 1;
  const auto keys = head_panels<E, kBlockRows>(0);
  const auto values = head_panels<E, kBlockRows>(Keys::kBytes);
  const auto queries = [](int n) { return head_panels<E, kQueryTile>(2 * Keys::kBytes + n % kStages * 2 * Queries::kBytes); };
  const auto gradients = [](int n) { return head_panels<E, kQueryTile>(2 * Keys::kBytes + (n % kStages * 2 + 1) * Queries::kBytes); };
  const auto statistics = [](int n) { return shared<float>(Shape::kStatistics + n % kStages * Shape::kStatisticBytes); };
  const Pipe<kStages> pipe{shared<uint64_t>(Shape::kBarriers)};
  const Barrier keys_there = pipe.start + 2 * kStages;
  if (threadIdx.x == 0) {
    pipe.make(1 + kLanes);
    make_barrier(keys_there, 1);
    fence_barriers();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) {
      arrive_expecting(keys_there, 2 * Keys::kBytes);
      keys.copy(given.k, keys_there, b, first, kv);
      values.copy(given.v, keys_there, b, first, kv);
      for (int n = 0; n < tiles * group; n++) {
        const int h = kv * group + n / tiles;
        const int query = first + n % tiles * kQueryTile;
        pipe.wait_empty(n);
        arrive_expecting(pipe.full(n), 2 * Queries::kBytes);
        queries(n).copy(given.q, pipe.full(n), b, query, h);
        gradients(n).copy(given.dout, pipe.full(n), b, query, h);
      }
    } else if (warp_index() == 1) {
      for (int n = 0; n < tiles * group; n++) {
        const int h = kv * group + n / tiles;
        const int query = first + n % tiles * kQueryTile;
        pipe.wait_empty(n);
        for (int i = static_cast<int>(lane_index()); i < kQueryTile; i += kLanes) {
          const Statistic of = statistic(args, b, h, query + i);
          statistics(n)[2 * i] = of.lse;
          statistics(n)[2 * i + 1] = of.delta;
        }
        arrive(pipe.full(n));
      }
    }
    return;
  }
  grow_registers<kConsumerRegisters>();

  const int row = (static_cast<int>(threadIdx.x) / 128 - 1) * kGroupRows;
  Counted seen[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int at = first + row + group_row(half);
    seen[half] = counted(args, b, at, queries_of(args, at));
  }
  const float unit = args.scale * kLog2e;
  GroupSums<E> dk = {};
  GroupSums<E> dv = {};
  wait_at(keys_there, 0);
  int query = first;
  for (int n = 0; n < tiles * group; n++) {
    GroupSums<kQueryTile> p, ds;  // keys in rows, queries in columns
    uint32_t weights[kQueryTile / 16][4], changes[kQueryTile / 16][4];
    pipe.wait_full(n);
    begin_products();
    begin_scores(p, keys, row, queries(n));
    begin_scores(ds, values, row, gradients(n));
    wait_products<1>();
    settle(p);
    const bool all = all_count(args, query, kQueryTile, first + row, kGroupRows) && all_of(args, b, own, query, min(query + kQueryTile, args.T) - 1);
    if (!all) hide<kQueryTile>(args, b, p, seen, query);
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
    if (query == first + tiles * kQueryTile) query = first;
  }
  store_group<E>(dk, {args.scale, args.scale}, args.dk, b, args.S, first + row, args.K, kv);
  store_group<E>(dv, {1, 1}, args.dv, b, args.S, first + row, args.K, kv);
}

template <int E>
__device__ __forceinline__ void attention_dq_wgmma(const GroupAttention& given) {
  constexpr int kStages = 2;
  using Queries = HeadPanels<E, kBlockRows>;
  using Keys = HeadPanels<E, kKeyTile>;
  constexpr int kBarriers = 2 * Queries::kBytes + kStages * 2 * Keys::kBytes;
  const Attention& args = given.attention;
  const int query_tiles = (args.T + kBlockRows - 1) / kBlockRows;
  const auto [back, b, h] = group_work(given, query_tiles, args.H);
  const int first = (query_tiles - 1 - back) * kBlockRows;
  const int kv = h / (args.H / args.K);

  const int last = min(first + kBlockRows, args.T) - 1;
  const Documents own = documents(args, b, first, last);
  const int widest = keys_of(args, first).first / kKeyTile * kKeyTile;
  const int most = (last - widest) / kKeyTile + 1;
  const int skipped = outermost_tile(args, b, own, widest, kKeyTile, most, 1, kBarriers + 8 * (2 * kStages + 1));
  const int from = widest + skipped * kKeyTile;
  const int tiles = most - skipped;
  const auto queries = head_panels<E, kBlockRows>(0);
  const auto gradients = head_panels<E, kBlockRows>(Queries::kBytes);
  const auto keys = [](int n) { return head_panels<E, kKeyTile>(2 * Queries::kBytes + n % kStages * 2 * Keys::kBytes); };
  const auto values = [](int n) { return head_panels<E, kKeyTile>(2 * Queries::kBytes + (n % kStages * 2 + 1) * Keys::kBytes); };
  const Pipe<kStages> pipe{shared<uint64_t>(kBarriers)};
  const Barrier queries_there = pipe.start + 2 * kStages;
  if (threadIdx.x == 0) {
    pipe.make(1);
    make_barrier(queries_there, 1);
    fence_barriers();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x > 0) return;
    arrive_expecting(queries_there, 2 * Queries::kBytes);
    queries.copy(given.q, queries_there, b, first, h);
    gradients.copy(given.dout, queries_there, b, first, h);
    for (int n = 0; n < tiles; n++) {
      pipe.wait_empty(n);
      arrive_expecting(pipe.full(n), 2 * Keys::kBytes);
      keys(n).copy(given.k, pipe.full(n), b, from + n * kKeyTile, kv);
      values(n).copy(given.v, pipe.full(n), b, from + n * kKeyTile, kv);
    }
    return;
  }
  grow_registers<kConsumerRegisters>();

  const int row = (static_cast<int>(threadIdx.x) / 128 - 1) * kGroupRows;
  Counted seen[2];
  Statistic of[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int query = first + row + group_row(half);
    seen[half] = counted(args, b, query, keys_of(args, query));
    of[half] = statistic(args, b, h, query);
  }
  const float unit = args.scale * kLog2e;
  GroupSums<E> dq = {};
  wait_at(queries_there, 0);
  for (int n = 0; n < tiles; n++) {
    const int key = from + n * kKeyTile;
    GroupSums<kKeyTile> p, ds;
    uint32_t changes[kKeyTile / 16][4];
    pipe.wait_full(n);
    begin_products();
    begin_scores(p, queries, row, keys(n));
    begin_scores(ds, gradients, row, values(n));
    wait_products<1>();
    settle(p);
    const bool all = all_count(args, first + row, kGroupRows, key, kKeyTile) && all_of(args, b, own, key, key + kKeyTile - 1);
    if (!all) hide<kKeyTile>(args, b, p, seen, key);
#pragma unroll
    for (int i = 0; i < kKeyTile / 2; i++) p[i] = power_of_two(p[i] * unit - of[i / 2 % 2].lse);
    wait_products<0>();
    settle(ds);
#pragma unroll
    for (int i = 0; i < kKeyTile / 2; i++) ds[i] = p[i] * (ds[i] - of[i / 2 % 2].delta);
    pack_weights<kKeyTile>(changes, ds);
    begin_products();
    begin_sums<E>(dq, changes, keys(n));
    wait_products<0>();
    settle(dq);
    pipe.release(n);
  }
  store_group<E>(dq, {args.scale, args.scale}, args.dq, b, args.T, first + row, args.H, h);
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_CLUSTER_KERNEL(attention_dkv_wgmma_64, GroupAttention, 384, 1) { attention_dkv_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_dkv_wgmma_128, GroupAttention, 384, 1) { attention_dkv_wgmma<128>(args); }
SLAYER_CLUSTER_KERNEL(attention_dq_wgmma_64, GroupAttention, 384, 1) { attention_dq_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_dq_wgmma_128, GroupAttention, 384, 1) { attention_dq_wgmma<128>(args); }
