// The gradient of attention_mma.cu's attention, on the tensor cores; bf16, E as there. With p_ij = exp(q_i·k_j·scale − lse_i) and
// ds_ij = p_ij (do_i·v_j − delta_i), delta from attention_delta:
//
//   attention_dkv_mma: dv_j = Σ_i p_ij do_i, dk_j = scale Σ_i ds_ij q_i   a block per 64 keys of a kv head, over its heads and queries
//   attention_dq_mma:  dq_i = scale Σ_j ds_ij k_j                         a block per 64 queries of a head, over the keys it sees
//
// 4 warps, each with 16 of the block's rows; the other side passes by 64 rows at a time in two stages. Two kernels that both compute p
// and ds do 7 products where one with atomic sums for dq does 5, but give the same gradient each time.
#include "fragments.h"

namespace slayer::cuda {

constexpr int kBackwardThreads = 128;

template <int E>
__device__ __forceinline__ HeadTile<E> backward_tile(int index) {
  return HeadTile<E>{shared<bf16>(2 * kHeadColumns<E> * kTileRows * index)};
}

// Begins to copy rows row … row + 63 of one head.
template <int E>
__device__ __forceinline__ void copy_rows(const HeadTile<E>& to, const void* data, int b, int rows, int row, int heads, int h) {
  to.template copy<kTileRows, kBackwardThreads>(head_row<bf16>(data, b, rows, row, heads, h, E), static_cast<int64_t>(heads) * E,
                                                rows - row, E);
}

// From scores q·k and do·v to p and ds, ds without its factor scale. query_of and key_of give the query and the key of element i of
// fragment n; lse and delta are those of the head's queries. Where the key is not seen or there is no such query, both become 0.
template <class QueryOf, class KeyOf>
__device__ __forceinline__ void to_gradients(const Attention& args, const float* lse, const float* delta, int b, bool masked, Scores& p,
                                             Scores& ds, QueryOf query_of, KeyOf key_of) {
  const float unit = args.scale * kLog2e;
#pragma unroll
  for (int n = 0; n < kTileRows / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int query = min(query_of(n, i), args.T - 1);
      p[n][i] = power_of_two(p[n][i] * unit - lse[query] * kLog2e);
      ds[n][i] = p[n][i] * (ds[n][i] - delta[query]);
    }
  }
  if (!masked) return;
#pragma unroll
  for (int n = 0; n < kTileRows / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int query = query_of(n, i);
      if (query < args.T && sees(args, b, query, key_of(n, i))) continue;
      p[n][i] = ds[n][i] = 0;
    }
  }
}

template <int E>
__device__ __forceinline__ void attention_dkv_mma(const Attention& args) {
  const int first = static_cast<int>(blockIdx.x) * kTileRows;
  const int kv = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int group = args.H / args.K;
  const int row = static_cast<int>(warp_index()) * 16;

  // Queries that see any of these keys, in tiles from the diagonal on, for one head of the group after the other.
  const int last_key = first + kTileRows < args.S ? first + kTileRows - 1 : args.S - 1;
  const int tiles = (queries_of(args, last_key).last - first) / kTileRows + 1;
  const HeadTile<E> keys = backward_tile<E>(0);
  const HeadTile<E> values = backward_tile<E>(1);
  const auto queries = [](int i) { return backward_tile<E>(2 + i % 2 * 2); };
  const auto gradients = [](int i) { return backward_tile<E>(3 + i % 2 * 2); };
  const auto begin = [&](int i) {
    if (i < tiles * group) {
      const int h = kv * group + i / tiles;
      copy_rows<E>(queries(i), args.q, b, args.T, first + i % tiles * kTileRows, args.H, h);
      copy_rows<E>(gradients(i), args.dout, b, args.T, first + i % tiles * kTileRows, args.H, h);
    }
    commit_copies();
  };
  copy_rows<E>(keys, args.k, b, args.S, first, args.K, kv);
  copy_rows<E>(values, args.v, b, args.S, first, args.K, kv);
  begin(0);

  float dk[1][E / 8][4] = {};
  float dv[1][E / 8][4] = {};
  for (int i = 0; i < tiles * group; i++) {
    begin(i + 1);
    wait_copies<1>();
    __syncthreads();
    const int h = kv * group + i / tiles;
    const int query = first + i % tiles * kTileRows;
    const int64_t statistics = (static_cast<int64_t>(b) * args.H + h) * args.T;
    Scores p[1], ds[1];  // transposed: keys in rows, queries in columns
    multiply_rows<E>(p, keys, row, queries(i));
    multiply_rows<E>(ds, values, row, gradients(i));
    const bool masked = !all_seen(args, query, kTileRows, first) || query + kTileRows > args.T;
    to_gradients(
        args, args.lse + statistics, args.delta + statistics, b, masked, p[0], ds[0],
        [=](int n, int k) { return query + fragment_column(n, k); }, [=](int, int k) { return first + row + fragment_row(k); });
    add_product<E>(dv, p, gradients(i));
    add_product<E>(dk, ds, queries(i));
    __syncthreads();
  }
  wait_copies<0>();
  store_rows<E>(dk[0], {args.scale, args.scale}, args.dk, b, args.S, first + row, args.K, kv);
  store_rows<E>(dv[0], {1, 1}, args.dv, b, args.S, first + row, args.K, kv);
}

template <int E>
__device__ __forceinline__ void attention_dq_mma(const Attention& args) {
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kTileRows;
  const int h = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int kv = h / (args.H / args.K);
  const int row = static_cast<int>(warp_index()) * 16;

  const int last = first + kTileRows < args.T ? first + kTileRows - 1 : args.T - 1;
  const int from = keys_of(args, first).first / kTileRows * kTileRows;
  const int tiles = (last - from) / kTileRows + 1;
  const HeadTile<E> queries = backward_tile<E>(0);
  const HeadTile<E> gradients = backward_tile<E>(1);
  const auto keys = [](int i) { return backward_tile<E>(2 + i % 2 * 2); };
  const auto values = [](int i) { return backward_tile<E>(3 + i % 2 * 2); };
  const auto begin = [&](int i) {
    if (i < tiles) {
      copy_rows<E>(keys(i), args.k, b, args.S, from + i * kTileRows, args.K, kv);
      copy_rows<E>(values(i), args.v, b, args.S, from + i * kTileRows, args.K, kv);
    }
    commit_copies();
  };
  copy_rows<E>(queries, args.q, b, args.T, first, args.H, h);
  copy_rows<E>(gradients, args.dout, b, args.T, first, args.H, h);
  begin(0);

  const int64_t statistics = (static_cast<int64_t>(b) * args.H + h) * args.T;
  float dq[1][E / 8][4] = {};
  for (int i = 0; i < tiles; i++) {
    begin(i + 1);
    wait_copies<1>();
    __syncthreads();
    const int key = from + i * kTileRows;
    Scores p[1], ds[1];
    multiply_rows<E>(p, queries, row, keys(i));
    multiply_rows<E>(ds, gradients, row, values(i));
    const bool masked = !all_seen(args, first, kTileRows, key) || first + kTileRows > args.T;
    to_gradients(
        args, args.lse + statistics, args.delta + statistics, b, masked, p[0], ds[0],
        [=](int, int k) { return first + row + fragment_row(k); }, [=](int n, int k) { return key + fragment_column(n, k); });
    add_product<E>(dq, ds, keys(i));
    __syncthreads();
  }
  wait_copies<0>();
  store_rows<E>(dq[0], {args.scale, args.scale}, args.dq, b, args.T, first + row, args.H, h);
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

#define SLAYER_ATTENTION(E)                                                                      \
  SLAYER_KERNEL(attention_dkv_mma_##E, Attention, 128) { attention_dkv_mma<E>(args); } \
  SLAYER_KERNEL(attention_dq_mma_##E, Attention, 128) { attention_dq_mma<E>(args); }
#include "head_sizes.h"
