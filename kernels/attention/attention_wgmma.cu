// Causal grouped-query attention on Hopper's tensor cores, after FlashAttention-3 (Shah et al. 2024): bf16, head sizes 64 and 128. Shapes are
// in args.h; the formulas beside the plain kernels in attention_simt.cu.
//
// A block takes 128 queries of one head at a time (groups.h), the last queries first since they see the most. Keys and values pass in tiles of 128,
// those next to the queries first, two on their way. A warpgroup's scores of the next tile run while those of this one become
// probabilities and are multiplied with the values; and the two groups take turns, so that one's exponentials go beside the other's
// products. m is the largest score so far, l the sum of 2^(unit·(s − m)), of which each lane keeps its own part.
#include "groups.h"

namespace slayer::cuda {

constexpr int kKeyRows = 128;
constexpr int kKeyStages = 2;

// The state of the online softmax for a thread's two rows.
struct Softmax {
  float m[2] = {-INFINITY, -INFINITY};
  float l[2] = {0, 0};
  float shrink[2];  // what sums so far are to be multiplied with

  // From scores to probabilities, up to the factor that the end brings. unit > 0.
  __device__ __forceinline__ void add(GroupSums<kKeyRows>& s, float unit) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float most[2] = {m[half], m[half]};
#pragma unroll
      for (int j = 0; j < kKeyRows / 8; j++) {
        most[0] = fmaxf(most[0], s[4 * j + 2 * half]);
        most[1] = fmaxf(most[1], s[4 * j + 2 * half + 1]);
      }
      float all = fmaxf(most[0], most[1]);
      all = fmaxf(all, shuffle_xor(all, 1));
      all = fmaxf(all, shuffle_xor(all, 2));
      // Nothing seen yet: any finite reference gives zeros.
      const float reference = all == -INFINITY ? 0.0f : all * unit;
      shrink[half] = power_of_two(m[half] * unit - reference);
      m[half] = all;
      float total[2] = {0, 0};
#pragma unroll
      for (int j = 0; j < kKeyRows / 8; j++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float& p = s[4 * j + 2 * half + i];
          p = power_of_two(p * unit - reference);
          total[i] += p;
        }
      }
      l[half] = l[half] * shrink[half] + (total[0] + total[1]);
    }
  }
};

template <int E>
__device__ __forceinline__ void attention_wgmma(const GroupAttention& given) {
  const Attention& args = given.attention;
  const int offset = position_of_first(args);
  if (offset < 0) return;

  using Keys = HeadPanels<E, kKeyRows>;
  const auto queries = head_panels<E, kBlockRows>(0);
  const auto keys = [](int n) { return head_panels<E, kKeyRows>((1 + n % kKeyStages) * Keys::kBytes); };
  const auto values = [](int n) { return head_panels<E, kKeyRows>((1 + kKeyStages + n % kKeyStages) * Keys::kBytes); };
  const int bytes = (1 + 2 * kKeyStages) * Keys::kBytes;
  const Barrier barriers = shared<uint64_t>(bytes + Dealer::kBytes);
  const Dealer dealer(bytes);
  const Pipe<kKeyStages> key_pipe{barriers}, value_pipe{barriers + 2 * kKeyStages};
  const Pipe<1> query_pipe{barriers + 4 * kKeyStages};
  const auto turn = [=](int group) { return barriers + (4 * kKeyStages + 2 + group); };
  make_barriers([=] {
    dealer.make(1);
    key_pipe.make(1);
    value_pipe.make(1);
    query_pipe.make(1);
    make_barrier(turn(0), kConsumerWarps / 2);
    make_barrier(turn(1), kConsumerWarps / 2);
  });

  if (threadIdx.x < 128) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) {
      for (int round = 0, n = 0;; round++) {
        const GroupWork work = dealer.take_alone(round);
        if (work.tile < 0) return;
        const KeyTiles<kKeyRows> tiles(args, work, given.tiles, offset);
        const int kv = work.h / (args.H / args.K);
        query_pipe.wait_empty(round);
        arrive_expecting(query_pipe.full(round), queries.kBytes);
        queries.copy(given.q, query_pipe.full(round), work.b, tiles.first_query, work.h);
        for (int tile = 0; tile < tiles.tiles; tile++, n++) {
          key_pipe.wait_empty(n);
          arrive_expecting(key_pipe.full(n), Keys::kBytes);
          keys(n).copy(given.k, key_pipe.full(n), work.b, tiles.key(tile), kv);
          value_pipe.wait_empty(n);
          arrive_expecting(value_pipe.full(n), Keys::kBytes);
          values(n).copy(given.v, value_pipe.full(n), work.b, tiles.key(tile), kv);
        }
        dealer.ask();
      }
    }
    if (warp_index() == Dealer::kWarp) {
      dealer.deal(given, args.H, [&](const GroupWork& work) {
        const KeyTiles<kKeyRows> tiles(args, work, given.tiles, offset);
        const int first = offset + tiles.first_query;
        const Documents own = documents(args, work.b, first, offset + tiles.last_query);
        return tiles_without(args, work.b, own, tiles.from, kKeyRows, tiles.tiles, 1);
      });
    }
    return;
  }
  grow_registers<kConsumerRegisters>();

  const int group = consumer_group();
  const int row = group * kGroupRows;
  const float unit = args.scale * kLog2e;
  int n = 0, turns = 0;  // tiles of all work so far, and turns
  for (int round = 0;; round++) {
    const GroupWork work = dealer.take(round);
    if (work.tile < 0) return;
    const KeyTiles<kKeyRows> tiles(args, work, given.tiles, offset);
    const int b = work.b;
    const int position = offset + tiles.first_query + row;
    const Documents own = documents(args, b, position - row, offset + tiles.last_query);
    Counted seen[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int at = position + group_row(half);
      seen[half] = counted(args, b, at, keys_of(args, at));
    }
    GroupSums<E> sums = {};
    GroupSums<kKeyRows> scores;
    uint32_t weights[kKeyRows / 16][4];
    Softmax softmax;
    const auto to_weights = [&](int tile) {
      const int key = tiles.key(tile);
      const bool all = all_count(args, position, kGroupRows, key, kKeyRows) && all_of(args, b, own, key, key + kKeyRows - 1);
      if (!all) hide<kKeyRows>(args, b, scores, seen, key);
      softmax.add(scores, unit);
    };

    query_pipe.wait_full(round);
    key_pipe.wait_full(n);
    begin_products();
    begin_scores(scores, queries, row, keys(n));
    wait_products<0>();
    settle(scores);
    key_pipe.release(n);
    if (tiles.tiles == 1) query_pipe.release(round);
    to_weights(0);
    pack_weights<kKeyRows>(weights, scores);
    if (tiles.tiles > 1) key_pipe.wait_full(n + 1);
    for (int tile = 1; tile < tiles.tiles; tile++) {
      wait_at(turn(group), (turns & 1) ^ (1 - group));
      turns++;
      begin_products();
      begin_scores(scores, queries, row, keys(n + 1));
      value_pipe.wait_full(n);
      begin_products();
      begin_sums<E>(sums, weights, values(n));
      if (lane_index() == 0) arrive(turn(1 - group));
      wait_products<1>();
      settle(scores);
      key_pipe.release(n + 1);
      if (tile == tiles.tiles - 1) query_pipe.release(round);
      to_weights(tile);
      settle(scores);
      // Awaited here, the next keys keep the compiler from putting exponentials behind the products.
      if (tile + 1 < tiles.tiles) key_pipe.wait_full(n + 2);
      wait_products<0>();
      settle(sums);
      value_pipe.release(n++);
#pragma unroll
      for (int i = 0; i < E / 2; i++) sums[i] *= softmax.shrink[i / 2 % 2];
      pack_weights<kKeyRows>(weights, scores);
    }
    value_pipe.wait_full(n);
    begin_products();
    begin_sums<E>(sums, weights, values(n));
    wait_products<0>();
    settle(sums);
    value_pipe.release(n++);

    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = softmax.l[half] + shuffle_xor(softmax.l[half], 1);
      total += shuffle_xor(total, 2);
      inverse[half] = 1 / total;
      const int query = tiles.first_query + row + group_row(half);
      if (query < args.T && lane_index() % 4 == 0) {
        args.lse[(static_cast<int64_t>(b) * args.H + work.h) * args.T + query] = softmax.m[half] * args.scale + logf(total);
      }
    }
    store_group<E>(sums, inverse, args.o, b, args.T, tiles.first_query + row, args.H, work.h);
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_CLUSTER_KERNEL(attention_wgmma_64, GroupAttention, 384, 1) { attention_wgmma<64>(args); }
SLAYER_CLUSTER_KERNEL(attention_wgmma_128, GroupAttention, 384, 1) { attention_wgmma<128>(args); }
