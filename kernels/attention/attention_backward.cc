// Gradient of causal grouped-query attention (Dao et al. 2022, algorithm 4), by tiles of queries and keys.
//
//   p_ij = exp(q_i·k_j·scale − lse_i)      ds_ij = p_ij (do_i·v_j − do_i·o_i)·scale
//   dq_i = Σ_j ds_ij k_j      dk_j = Σ_i ds_ij q_i      dv_j = Σ_i p_ij do_i        (i over all heads of j's group)
//
//   do, q, o, dq [B, T, H·E]   k, v, dk, dv [B, T, K·E]   lse [B, H, T]   segments i32 [B, T]
//
// A block is a tile of queries × a range of keys of one kv head. With a kv head per thread or more, a task is a whole kv head and
// computes p once; with fewer, tasks are tiles of queries, which yield dq, and ranges of keys, which yield dk and dv: p is then
// computed twice, on more threads. Either way each element is the sum of the same terms in the same order, so the results
// are the same to the last bit for any number of threads.
#include "columns.h"

namespace slayer::SLAYER_ISA {
namespace {

constexpr int64_t kRange = 4 * kKeys;  // keys of a task that yields dk and dv

struct Tile {
  float* queries;    // q·scale·log₂ e [panels][E][kPanel]
  float* gradients;  // do, likewise
  float* dq;         // [panels][padded][kPanel]
  float* rows_q;     // q [kColumns][padded]
  float* rows_do;    // do [kColumns][padded]
  float* keys;       // [kKeys][padded]
  float* values;     // [kKeys][padded]
  float* p;          // [kKeys][kColumns]
  float* ds;         // [kKeys][kColumns]
  float* lse;        // [kColumns], in units of log₂
  float* delta;      // do_i·o_i [kColumns]

  static int64_t floats(const AttentionSizes& s) {
    return (5 * kColumns + 2 * kKeys) * s.padded + 2 * kKeys * kColumns + 2 * kColumns;
  }
  Tile(const AttentionSizes& s, float* at) {
    float** const parts[] = {&queries, &gradients, &dq, &rows_q, &rows_do, &keys, &values, &p, &ds, &lse, &delta};
    const int64_t columns = kColumns * s.padded, rows = kKeys * s.padded, scores = kKeys * kColumns;
    const int64_t extents[] = {columns, columns, columns, columns, columns, rows, rows, scores, scores, kColumns, kColumns};
    for (int i = 0; i < 11; i++) {
      *parts[i] = at;
      at += extents[i];
    }
  }
};

struct Operands {
  const float *dout, *q, *k, *v, *o, *lse;
  float *dq, *dk, *dv;
};

void pack_queries(const Columns& columns, const Operands& x, const Tile& tile) {
  const AttentionSizes& s = columns.sizes;
  pack_columns(columns, x.q, s.scale * kLog2e, tile.queries);
  pack_columns(columns, x.dout, 1, tile.gradients);
  for (int64_t c = 0; c < columns.vectors * kLanes; c++) {
    const int64_t row = columns.query[c];
    float* q = tile.rows_q + c * s.padded;
    float* dout = tile.rows_do + c * s.padded;
    copy_padded(x.q + row, s.E, s.padded, q);
    copy_padded(x.dout + row, s.E, s.padded, dout);
    Vec delta = Vec{};
    int64_t e = 0;
    for (; e + kLanes <= s.E; e += kLanes) delta = fma(load(dout + e), load(x.o + row + e), delta);
    if (e < s.E) delta = fma(load_part(dout + e, s.E - e), load_part(x.o + row + e, s.E - e), delta);
    tile.delta[c] = sum(delta);
    tile.lse[c] = x.lse[columns.statistic[c]] * kLog2e;
  }
}

// p and ds for a tile of keys and a panel of queries.
void weigh(const Columns& columns, int64_t panel, int64_t key, int64_t n, bool segments, const Tile& tile) {
  const AttentionSizes& s = columns.sizes;
  const int64_t vector = panel * kMicroVectors;
  const int64_t packed = panel * s.E * kPanel;
  for_products(columns, panel, key, n, tile.keys, tile.queries + packed, [&](int64_t r, int64_t first, auto& acc) {
    mask(acc, columns, vector + first, key + r, segments);
    constexpr int V = std::extent_v<std::remove_reference_t<decltype(acc)>, 1>;
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      const int64_t column = (vector + first + v) * kLanes;
      const Vec lse = load(tile.lse + column);
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) store(tile.p + (r + i) * kColumns + column, exp2_small(acc[i][v] - lse));
    }
  });
  for_products(columns, panel, key, n, tile.values, tile.gradients + packed, [&](int64_t r, int64_t first, auto& acc) {
    constexpr int V = std::extent_v<std::remove_reference_t<decltype(acc)>, 1>;
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      const int64_t column = (vector + first + v) * kLanes;
      const Vec delta = load(tile.delta + column);
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) {
        const int64_t at = (r + i) * kColumns + column;
        store(tile.ds + at, load(tile.p + at) * ((acc[i][v] - delta) * s.scale));
      }
    }
  });
}

// dqᵀ of a panel += Σ_j ds_ij k_j over a tile of keys.
void add_dq(const Columns& columns, int64_t panel, int64_t key, int64_t n, const Tile& tile) {
  const AttentionSizes& s = columns.sizes;
  int64_t seen[kMicroVectors];
  count_seen(columns, panel, key, n, seen);
  with_count(columns.vectors_of(panel), [&](auto count) {
    constexpr int V = decltype(count)::value;
    for (int64_t e = 0; e < s.E; e += kMicroRows) {
      float* out = tile.dq + (panel * s.padded + e) * kPanel;
      Vec acc[kMicroRows][V];
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) acc[i][v] = load(out + i * kPanel + v * kLanes);
      }
      multiply_seen(seen, tile.keys + e, s.padded, tile.ds + panel * kPanel, kColumns, acc);
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) store(out + i * kPanel + v * kLanes, acc[i][v]);
      }
    }
  });
}

// Row j of out, E floats `stride` apart from the next, += Σ_c weights[j][c]·rows[c] over columns c that see key + j, up to `upto`.
void add_rows(const Columns& columns, int64_t key, int64_t n, int64_t upto, const float* weights, const float* rows, float* out,
              int64_t stride) {
  const AttentionSizes& s = columns.sizes;
  int64_t from = 0;
  for (int64_t r = 0; r < n; r += kMicroRows) {
    while (columns.last_position(from / kLanes) < key + r) from += kLanes;
    if (from >= upto) return;
    const int64_t height = n - r < kMicroRows ? n - r : kMicroRows;
    for (int64_t e = 0; e < s.E;) {
      const int64_t left = (s.E - e + kLanes - 1) / kLanes;
      // Four vectors go as two and two, not three and one.
      with_count(left == 4 ? 2 : left < kMicroVectors ? left : kMicroVectors, [&](auto count) {
        constexpr int V = decltype(count)::value;
        Vec acc[kMicroRows][V] = {};
        multiply<true>(upto - from, weights + r * kColumns + from, kColumns, rows + from * s.padded + e, s.padded, acc);
        for (int64_t i = 0; i < height; i++) {
          for (int v = 0; v < V; v++) {
            float* to = out + (r + i) * stride + e + v * kLanes;
            const int64_t width = s.E - e - v * kLanes;
            if (width >= kLanes) store(to, load(to) + acc[i][v]);
            else store_part(to, load_part(to, width) + acc[i][v], width);
          }
        }
        e += V * kLanes;
      });
    }
  }
}

// Adds what a tile of queries and keys [begin, end) give: dq of the tile (stored), dk and dv of the keys (added), as asked.
void backward_block(const Columns& columns, const Operands& x, int64_t begin, int64_t end, bool queries, bool keys,
                    const Tile& tile) {
  const AttentionSizes& s = columns.sizes;
  if (begin < columns.key_begin) begin = columns.key_begin;
  if (end > columns.key_end) end = columns.key_end;
  if (begin >= end) return;
  pack_queries(columns, x, tile);
  if (queries) std::memset(tile.dq, 0, static_cast<size_t>(columns.panels * s.padded * kPanel) * 4);
  for (int64_t key = begin; key < end; key += kKeys) {
    const int64_t n = end - key < kKeys ? end - key : kKeys;
    const Segments segments = compare_segments(columns, key, n);
    if (segments == Segments::apart) continue;
    pack_keys(s, x.k, columns.b, columns.kv, key, n, tile.keys);
    pack_keys(s, x.v, columns.b, columns.kv, key, n, tile.values);
    int64_t panel = 0;
    for (; panel < columns.panels && columns.lowest_key(panel * kMicroVectors) < key + n; panel++) {
      weigh(columns, panel, key, n, segments == Segments::mixed, tile);
      if (queries) add_dq(columns, panel, key, n, tile);
    }
    if (!keys) continue;
    const int64_t upto = panel * kPanel < columns.count ? panel * kPanel : columns.count;
    const int64_t at = s.key(columns.b, columns.kv, key);
    add_rows(columns, key, n, upto, tile.p, tile.rows_do, x.dv + at, s.K * s.E);
    add_rows(columns, key, n, upto, tile.ds, tile.rows_q, x.dk + at, s.K * s.E);
  }
  if (!queries) return;
  for (int64_t c = 0; c < kColumns; c++) tile.delta[c] = 1;
  unpack_columns(columns, tile.dq, tile.delta, x.dq);
}

void clear_keys(const AttentionSizes& s, const Operands& x, int64_t b, int64_t kv, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j++) {
    std::memset(x.dk + s.key(b, kv, j), 0, static_cast<size_t>(s.E) * 4);
    std::memset(x.dv + s.key(b, kv, j), 0, static_cast<size_t>(s.E) * 4);
  }
}

}  // namespace

void attention_backward(const Call& call, Pool& pool) {
  const AttentionSizes s(call, call.in[1], call.in[2], call.in.size() > 6 ? &call.in[6] : nullptr);
  const Operands x{call.in[0].f32(), call.in[1].f32(), call.in[2].f32(),  call.in[3].f32(), call.in[4].f32(),
                   call.in[5].f32(), call.out[0].f32(), call.out[1].f32(), call.out[2].f32()};
  const int64_t heads = s.B * s.K;
  const int64_t tiles = s.tiles();
  auto scratch = [&](int thread) {
    return Tile(s, static_cast<float*>(pool.scratch(thread, 0, static_cast<size_t>(Tile::floats(s)) * 4)));
  };
  auto keys_of = [&](int64_t b, int64_t kv, int64_t begin, int64_t end, bool queries, const Tile& tile) {
    clear_keys(s, x, b, kv, begin, end);
    for (int64_t t = begin * s.G / kColumns; t < tiles; t++) {
      backward_block(Columns(s, b, kv, t), x, begin, end, queries, true, tile);
    }
  };

  // In products per kv head: five in one pass on few threads, or seven on all of them.
  const int64_t rounds = (heads + pool.threads() - 1) / pool.threads();
  if (5 * rounds * pool.threads() <= 7 * heads || s.S <= kRange) {
    auto task = [&](int64_t i, int thread) { keys_of(i / s.K, i % s.K, 0, s.S, true, scratch(thread)); };
    pool.run(heads, task);
    return;
  }
  const int64_t ranges = (s.S + kRange - 1) / kRange;
  auto task = [&](int64_t i, int thread) {
    const int64_t b = i % heads / s.K, kv = i % heads % s.K;
    const int64_t item = i / heads;
    if (item < ranges) {
      // The first keys are seen by the most queries: they go first.
      const int64_t end = (item + 1) * kRange < s.S ? (item + 1) * kRange : s.S;
      keys_of(b, kv, item * kRange, end, false, scratch(thread));
    } else {
      const Columns columns(s, b, kv, tiles - 1 - (item - ranges));
      backward_block(columns, x, 0, s.S, true, false, scratch(thread));
    }
  };
  pool.run(heads * (ranges + tiles), task);
}

}  // namespace slayer::SLAYER_ISA
