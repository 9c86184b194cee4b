// Causal grouped-query attention and its gradient on the ordinary cores: for f32, for head sizes that the tensor cores' kernels
// (attention_mma.cu, attention_backward_mma.cu) do not take, and for decoding over a cache. Shapes are in args.h.
//
//   attention_rows:     o_i = Σ_j softmax_j(q_i·k_j·scale) v_j with an online softmax (Milakov & Gimelshein 2018), lse_i
//   attention_delta:    delta_i = do_i·o_i
//   attention_dq_rows:  p_ij = exp(q_i·k_j·scale − lse_i), ds_ij = p_ij (do_i·v_j − delta_i)·scale, dq_i = Σ_j ds_ij k_j
//   attention_dkv_rows: dk_j = Σ_i ds_ij q_i, dv_j = Σ_i p_ij do_i, over the heads of the group
//
// A warp per query (per key in the last), grid (rows/4, heads, B). No atomics: the sums come out the same each time.
#include "rows.h"

namespace slayer::cuda {

template <class T>
__device__ __forceinline__ void attention_rows(const Attention& args) {
  const int i = static_cast<int>(blockIdx.x * kRowWarps + warp_index());
  const int h = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int kv = h / (args.H / args.K);
  const int offset = position_of_first(args);
  if (i >= args.T || offset < 0) return;
  const Shared<float> q = keep_row(head_row<T>(args.q, b, args.T, i, args.H, h, args.E), args.E, args.scale * kLog2e, 0, 1);
  __syncwarp();
  const auto key = [&](int j) { return head_row<T>(args.k, b, args.S, j, args.K, kv, args.E); };
  const auto value = [&](int j) { return head_row<T>(args.v, b, args.S, j, args.K, kv, args.E); };

  const Span span = keys_of(args, offset + i);
  float most = -INFINITY;
  float total = 0;
  float sums[kHeadParts] = {};
  for (int from = span.first; from <= span.last; from += kLanes) {
    const int j = from + static_cast<int>(lane_index());
    const bool seen = j <= span.last && same_segment(args, b, offset + i, j);
    const float s = seen ? dot(q, key(j), args.E) : -INFINITY;
    const float now = fmaxf(most, warp_max(s));
    if (now == -INFINITY) continue;
    const float p = seen ? power_of_two(s - now) : 0.0f;
    const float shrink = power_of_two(most - now);
    most = now;
    total = total * shrink + warp_sum(p);
#pragma unroll
    for (int part = 0; part < kHeadParts; part++) sums[part] *= shrink;
    add_weighted(sums, p, args.E, [&](unsigned lane) { return value(from + static_cast<int>(lane)); });
  }
  const int64_t at = ((static_cast<int64_t>(b) * args.T + i) * args.H + h) * args.E;
  store_row<T>(sums, 1 / total, args.o, at, args.E);
  if (lane_index() == 0) args.lse[(static_cast<int64_t>(b) * args.H + h) * args.T + i] = most * kLn2 + logf(total);
}

// As many lanes to a row as it has packs, rounded up to a power of two; a thread takes part in kDeltaRows rows of one head, grid (tiles of
// queries, H, B).
template <class T>
__device__ __forceinline__ void attention_delta(const Attention& args) {
  const int h = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    int lanes = 1;
    while (lanes < static_cast<int>(kLanes) && lanes * N < args.E) lanes *= 2;
    const int at_once = static_cast<int>(blockDim.x) / lanes;
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    const int row = static_cast<int>(blockIdx.x) * at_once * kDeltaRows + static_cast<int>(threadIdx.x) / lanes;
    float sums[kDeltaRows] = {};
    for (int e = lane * N; e < args.E; e += lanes * N) {
      Pack<T, N> dout[kDeltaRows], o[kDeltaRows];
#pragma unroll
      for (int i = 0; i < kDeltaRows; i++) {
        const int query = min(row + i * at_once, args.T - 1);
        dout[i] = load_pack<T, N>(head_row<T>(args.dout, b, args.T, query, args.H, h, args.E) + e);
        o[i] = load_pack<T, N>(head_row<T>(args.o, b, args.T, query, args.H, h, args.E) + e);
      }
#pragma unroll
      for (int i = 0; i < kDeltaRows; i++) {
#pragma unroll
        for (int k = 0; k < N; k++) sums[i] += to_float(dout[i].v[k]) * to_float(o[i].v[k]);
      }
    }
#pragma unroll
    for (int i = 0; i < kDeltaRows; i++) {
      for (int mask = lanes / 2; mask > 0; mask /= 2) sums[i] += shuffle_xor(sums[i], static_cast<unsigned>(mask));
      const int query = row + i * at_once;
      if (lane == 0 && query < args.T) args.delta[(static_cast<int64_t>(b) * args.H + h) * args.T + query] = sums[i];
    }
  });
}

template <class T>
__device__ __forceinline__ void attention_dq_rows(const Attention& args) {
  const int i = static_cast<int>(blockIdx.x * kRowWarps + warp_index());
  const int h = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int kv = h / (args.H / args.K);
  if (i >= args.T) return;
  const Shared<float> q = keep_row(head_row<T>(args.q, b, args.T, i, args.H, h, args.E), args.E, args.scale, 0, 2);
  const Shared<float> dout = keep_row(head_row<T>(args.dout, b, args.T, i, args.H, h, args.E), args.E, 1, 1, 2);
  __syncwarp();
  const int64_t statistic = (static_cast<int64_t>(b) * args.H + h) * args.T + i;
  const float lse = args.lse[statistic];
  const float delta = args.delta[statistic];
  const auto key = [&](int j) { return head_row<T>(args.k, b, args.S, j, args.K, kv, args.E); };

  const Span span = keys_of(args, i);
  float sums[kHeadParts] = {};
  for (int from = span.first; from <= span.last; from += kLanes) {
    const int j = from + static_cast<int>(lane_index());
    float ds = 0;
    if (j <= span.last && same_segment(args, b, i, j)) {
      const float p = power_of_two((dot(q, key(j), args.E) - lse) * kLog2e);
      ds = p * (dot(dout, head_row<T>(args.v, b, args.S, j, args.K, kv, args.E), args.E) - delta);
    }
    __syncwarp();
    add_weighted(sums, ds, args.E, [&](unsigned lane) { return key(from + static_cast<int>(lane)); });
  }
  store_row<T>(sums, args.scale, args.dq, ((static_cast<int64_t>(b) * args.T + i) * args.H + h) * args.E, args.E);
}

template <class T>
__device__ __forceinline__ void attention_dkv_rows(const Attention& args) {
  const int j = static_cast<int>(blockIdx.x * kRowWarps + warp_index());
  const int kv = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int group = args.H / args.K;
  if (j >= args.S) return;
  const Shared<float> k = keep_row(head_row<T>(args.k, b, args.S, j, args.K, kv, args.E), args.E, args.scale, 0, 2);
  const Shared<float> v = keep_row(head_row<T>(args.v, b, args.S, j, args.K, kv, args.E), args.E, 1, 1, 2);
  __syncwarp();

  const Span span = queries_of(args, j);
  float dk[kHeadParts] = {};
  float dv[kHeadParts] = {};
  for (int h = kv * group; h < (kv + 1) * group; h++) {
    const auto query = [&](int i) { return head_row<T>(args.q, b, args.T, i, args.H, h, args.E); };
    const auto gradient = [&](int i) { return head_row<T>(args.dout, b, args.T, i, args.H, h, args.E); };
    for (int from = span.first; from <= span.last; from += kLanes) {
      const int i = from + static_cast<int>(lane_index());
      float p = 0;
      float ds = 0;
      if (i <= span.last && same_segment(args, b, i, j)) {
        const int64_t statistic = (static_cast<int64_t>(b) * args.H + h) * args.T + i;
        p = power_of_two((dot(k, query(i), args.E) - args.lse[statistic]) * kLog2e);
        ds = p * (dot(v, gradient(i), args.E) - args.delta[statistic]);
      }
      __syncwarp();
      add_weighted(dk, ds, args.E, [&](unsigned lane) { return query(from + static_cast<int>(lane)); });
      add_weighted(dv, p, args.E, [&](unsigned lane) { return gradient(from + static_cast<int>(lane)); });
    }
  }
  const int64_t at = ((static_cast<int64_t>(b) * args.S + j) * args.K + kv) * args.E;
  store_row<T>(dk, args.scale, args.dk, at, args.E);
  store_row<T>(dv, 1, args.dv, at, args.E);
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(attention_rows_f32, Attention, 128) { attention_rows<float>(args); }
SLAYER_KERNEL(attention_rows_bf16, Attention, 128) { attention_rows<bf16>(args); }
SLAYER_KERNEL(attention_delta_f32, Attention, 256) { attention_delta<float>(args); }
SLAYER_KERNEL(attention_delta_bf16, Attention, 256) { attention_delta<bf16>(args); }
SLAYER_KERNEL(attention_dq_rows_f32, Attention, 128) { attention_dq_rows<float>(args); }
SLAYER_KERNEL(attention_dq_rows_bf16, Attention, 128) { attention_dq_rows<bf16>(args); }
SLAYER_KERNEL(attention_dkv_rows_f32, Attention, 128) { attention_dkv_rows<float>(args); }
SLAYER_KERNEL(attention_dkv_rows_bf16, Attention, 128) { attention_dkv_rows<bf16>(args); }
