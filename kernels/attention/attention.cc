// Causal grouped-query attention: o_i = Σ_j softmax_j(q_i·k_j·scale) v_j over the keys that row i sees.
//
//   q, o [B, T, H·E]   k, v [B, S, K·E]   lse [B, H, T]   segments i32 [B, S] or offset i32 [1]
//
// Online softmax (Milakov & Gimelshein 2018; Dao et al. 2022): for a tile of queries, tiles of kKeys keys pass by; m, the largest
// score so far, l = Σ 2^(s − m) and Oᵀ = Σ 2^(s − m) v are kept, and rescaled by 2^(m_old − m) when m rises. Scores are in units
// of log₂ (scale·log₂ e is multiplied into q), so that exponentials are powers of two. Work: one task per batch entry, kv head
// and tile of queries; tiles of keys that no query of the tile sees are not touched. Memory per task: a few tiles.
#include "columns.h"
#include "decode.h"

namespace slayer::SLAYER_ISA {
namespace {

struct Tile {
  float* queries;  // [panels][E][kPanel]
  float* out;      // [panels][padded][kPanel]
  float* keys;     // [kKeys][padded]
  float* values;   // [kKeys][padded]
  float* scores;   // [kKeys][kPanel]
  float* m;        // [kColumns]
  float* l;        // [kColumns]

  static int64_t floats(const AttentionSizes& s) { return (2 * kColumns + 2 * kKeys) * s.padded + kKeys * kPanel + 2 * kColumns; }
  Tile(const AttentionSizes& s, float* at) {
    queries = at;
    out = queries + kColumns * s.padded;
    keys = out + kColumns * s.padded;
    values = keys + kKeys * s.padded;
    scores = values + kKeys * s.padded;
    m = scores + kKeys * kPanel;
    l = m + kColumns;
  }
};

// One tile of keys for one panel of queries.
void attend(const Columns& columns, int64_t panel, int64_t key, int64_t n, bool segments, const Tile& tile) {
  const AttentionSizes& s = columns.sizes;
  const int64_t vector = panel * kMicroVectors;
  Vec best[kMicroVectors];
  for (Vec& b : best) b = splat(kLowest);
  for_products(columns, panel, key, n, tile.keys, tile.queries + panel * s.E * kPanel, [&](int64_t r, int64_t first, auto& acc) {
    mask(acc, columns, vector + first, key + r, segments);
    constexpr int V = std::extent_v<std::remove_reference_t<decltype(acc)>, 1>;
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      Vec top = best[first + v];
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) {
        top = larger(top, acc[i][v]);
        store(tile.scores + (r + i) * kPanel + (first + v) * kLanes, acc[i][v]);
      }
      best[first + v] = top;
    }
  });

  int64_t seen[kMicroVectors];
  count_seen(columns, panel, key, n, seen);
  Vec shrink[kMicroVectors];
  for (int64_t v = 0; v < columns.vectors_of(panel); v++) {
    float* m = tile.m + (vector + v) * kLanes;
    float* l = tile.l + (vector + v) * kLanes;
    const Vec top = larger(load(m), best[v]);
    shrink[v] = exp2_small(load(m) - top);
    Vec sum = Vec{};
    for (int64_t j = 0; j < seen[v]; j++) {
      float* at = tile.scores + j * kPanel + v * kLanes;
      const Vec p = exp2_small(load(at) - top);
      sum += p;
      store(at, p);
    }
    store(m, top);
    store(l, load(l) * shrink[v] + sum);
  }

  with_count(columns.vectors_of(panel), [&](auto count) {
    constexpr int V = decltype(count)::value;
    for (int64_t e = 0; e < s.E; e += kMicroRows) {
      float* out = tile.out + (panel * s.padded + e) * kPanel;
      Vec acc[kMicroRows][V];
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) acc[i][v] = load(out + i * kPanel + v * kLanes) * shrink[v];
      }
      multiply_seen(seen, tile.values + e, s.padded, tile.scores, kPanel, acc);
#pragma GCC unroll 8
      for (int i = 0; i < kMicroRows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) store(out + i * kPanel + v * kLanes, acc[i][v]);
      }
    }
  });
}

void attention_tile(const Columns& columns, const float* q, const float* k, const float* v, float* o, float* lse,
                    const Tile& tile) {
  const AttentionSizes& s = columns.sizes;
  pack_columns(columns, q, s.scale * kLog2e, tile.queries);
  std::memset(tile.out, 0, static_cast<size_t>(columns.panels * s.padded * kPanel) * 4);
  for (int64_t c = 0; c < kColumns; c++) tile.m[c] = kLowest, tile.l[c] = 0;
  for (int64_t key = columns.key_begin; key < columns.key_end; key += kKeys) {
    const int64_t n = columns.key_end - key < kKeys ? columns.key_end - key : kKeys;
    const Segments segments = compare_segments(columns, key, n);
    if (segments == Segments::apart) continue;
    pack_keys(s, k, columns.b, columns.kv, key, n, tile.keys);
    pack_keys(s, v, columns.b, columns.kv, key, n, tile.values);
    for (int64_t panel = 0; panel < columns.panels; panel++) {
      if (columns.lowest_key(panel * kMicroVectors) >= key + n) break;
      attend(columns, panel, key, n, segments == Segments::mixed, tile);
    }
  }
  for (int64_t c = 0; c < columns.count; c++) {
    lse[columns.statistic[c]] = tile.m[c] * kLn2 + std::log(tile.l[c]);
    tile.l[c] = 1 / tile.l[c];
  }
  unpack_columns(columns, tile.out, tile.l, o);
}

}  // namespace

void attention(const Call& call, Pool& pool) {
  const AttentionSizes s(call, call.in[0], call.in[1], call.in.size() > 3 ? &call.in[3] : nullptr);
  const float* q = call.in[0].f32();
  const float* k = call.in[1].f32();
  const float* v = call.in[2].f32();
  float* o = call.out[0].f32();
  float* lse = call.out[1].f32();
  if (suits_decoding(s)) return decode(s, q, k, v, o, lse, pool);
  const int64_t tiles = s.tiles();
  auto task = [&](int64_t index, int thread) {
    // Neighbours share keys. The last tiles of a sequence see the most: they go first.
    const Columns columns(s, index / tiles / s.K, index / tiles % s.K, tiles - 1 - index % tiles);
    void* memory = pool.scratch(thread, 0, static_cast<size_t>(Tile::floats(s)) * 4);
    attention_tile(columns, q, k, v, o, lse, Tile(s, static_cast<float*>(memory)));
  };
  pool.run(s.B * s.K * tiles, task);
}

}  // namespace slayer::SLAYER_ISA
