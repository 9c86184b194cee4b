// Attention for a handful of queries over many keys: one token of a generation, or a few.
//
// Bound by reading K and V once, so lanes lie along E: a score is a dot product, an output a sum of rows of V. The keys of a
// sequence are cut in at most kParts equal parts, whatever the number of threads; a task is one part of one kv head, and yields
// m = max s, l = Σ 2^(s − m) and Σ 2^(s − m) v for each query. They are joined in order of the keys. Scores are in units of log₂.
#pragma once

#include "columns.h"

namespace slayer::SLAYER_ISA {

constexpr int64_t kFew = kMicroRows;  // most queries per kv head
constexpr int64_t kParts = 16;

inline bool suits_decoding(const AttentionSizes& s) {
  return s.G * s.T <= kFew && s.E % kLanes == 0 && !s.segments;
}

template <size_t... I>
SLAYER_INLINE Vec add_pairs(Vec a, Vec b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// Lane i: the sum of the lanes of rows[i]. Neighbours are added until one vector is left.
SLAYER_INLINE Vec sum_each(Vec (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int n = kLanes / 2; n > 0; n /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) rows[i] = add_pairs(rows[2 * i], rows[2 * i + 1], std::make_index_sequence<kLanes>());
  }
  return rows[0];
}

// scores[j] = query·(row j of keys) for the n keys that lie `stride` floats apart; kLanes of them at a time.
inline void score_keys(const AttentionSizes& s, const float* query, const float* keys, int64_t stride, int64_t n, float* scores) {
  for (int64_t j = 0; j < n; j += kLanes) {
    Vec acc[kLanes] = {};
    if (n - j >= kLanes) {
      for (int64_t e = 0; e < s.E; e += kLanes) {
        const Vec x = load(query + e);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) acc[i] = fma(x, load(keys + (j + i) * stride + e), acc[i]);
      }
    } else {
      for (int64_t i = 0; i < n - j; i++) {
        for (int64_t e = 0; e < s.E; e += kLanes) acc[i] = fma(load(query + e), load(keys + (j + i) * stride + e), acc[i]);
      }
    }
    store(scores + j, sum_each(acc));
  }
}

// Makes −∞ the scores of those of the n keys from `key` on (rounded up to whole vectors) that a query at `position` doesn't see.
inline void hide_keys(float* scores, int64_t key, int64_t n, int64_t position, int64_t window) {
  const int64_t low = window > 0 ? position - window + 1 : 0;
  for (int64_t j = 0; j < (n + kLanes - 1) / kLanes * kLanes; j++) {
    if (j >= n || key + j > position || key + j < low) scores[j] = -__builtin_inff();
  }
}

// What a part yields for one query: m, l, then Σ 2^(s − m) v [E].
struct Partial {
  float* at;
  float& m() const { return at[0]; }
  float& l() const { return at[1]; }
  float* out() const { return at + kLanes; }
  static int64_t floats(const AttentionSizes& s) { return kLanes + s.E; }
};

// Keys [begin, end) of one kv head for its `few` queries [few][E], which are multiplied by scale·log₂ e.
inline void decode_part(const AttentionSizes& s, int64_t few, const float* queries, const float* keys, const float* values,
                        int64_t begin, int64_t end, float* scores, float* partials) {
  const int64_t stride = s.K * s.E;
  for (int64_t c = 0; c < few; c++) {
    const Partial part{partials + c * Partial::floats(s)};
    std::memset(part.at, 0, static_cast<size_t>(Partial::floats(s)) * 4);
    part.m() = kLowest;
  }
  for (int64_t key = begin; key < end; key += kKeys) {
    const int64_t n = end - key < kKeys ? end - key : kKeys;
    Vec shrink[kFew];
    for (int64_t c = 0; c < few; c++) {
      const Partial part{partials + c * Partial::floats(s)};
      float* row = scores + c * kKeys;
      score_keys(s, queries + c * s.E, keys + key * stride, stride, n, row);
      hide_keys(row, key, n, s.offset + c / s.G, s.window);
      Vec top = splat(part.m());
      for (int64_t j = 0; j < n; j += kLanes) top = larger(top, load(row + j));
      top = splat(max_lane(top));
      Vec total = Vec{};
      for (int64_t j = 0; j < n; j += kLanes) {
        const Vec p = exp2_small(load(row + j) - top);
        total += p;
        store(row + j, p);
      }
      shrink[c] = exp2_small(splat(part.m()) - top);
      part.m() = top[0];
      part.l() = part.l() * shrink[c][0] + sum(total);
    }
    with_count<kFew>(few, [&](auto count) {
      for (int64_t e = 0; e < s.E;) {
        with_count((s.E - e) / kLanes < kMicroVectors ? (s.E - e) / kLanes : kMicroVectors, [&](auto vectors) {
          constexpr int C = decltype(count)::value, V = decltype(vectors)::value;
          Vec acc[C][V];
#pragma GCC unroll 8
          for (int c = 0; c < C; c++) {
            const float* out = Partial{partials + c * Partial::floats(s)}.out() + e;
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) acc[c][v] = load(out + v * kLanes) * shrink[c];
          }
          multiply<true>(n, scores, kKeys, values + key * stride + e, stride, acc);
#pragma GCC unroll 8
          for (int c = 0; c < C; c++) {
            float* out = Partial{partials + c * Partial::floats(s)}.out() + e;
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) store(out + v * kLanes, acc[c][v]);
          }
          e += V * kLanes;
        });
      }
    });
  }
}

inline void decode(const AttentionSizes& s, const float* q, const float* k, const float* v, float* o, float* lse, Pool& pool) {
  const int64_t few = s.T * s.G;
  const int64_t low = s.window > 0 && s.offset >= s.window ? s.offset - s.window + 1 : 0;
  const int64_t high = s.offset + s.T;
  const int64_t length = ((high - low + kParts - 1) / kParts + kKeys - 1) / kKeys * kKeys;
  const int64_t parts = (high - low + length - 1) / length;
  const int64_t floats = few * Partial::floats(s);
  float* partials = static_cast<float*>(pool.scratch(0, 3, static_cast<size_t>(s.B * s.K * parts * floats) * 4));

  auto task = [&](int64_t index, int thread) {
    const int64_t part = index % parts, kv = index / parts % s.K, b = index / parts / s.K;
    float* scores = static_cast<float*>(pool.scratch(thread, 0, static_cast<size_t>(few * (s.E + kKeys)) * 4));
    float* queries = scores + few * kKeys;
    for (int64_t c = 0; c < few; c++) {
      const float* row = q + s.query(b, kv, c);
      for (int64_t e = 0; e < s.E; e++) queries[c * s.E + e] = row[e] * (s.scale * kLog2e);
    }
    const int64_t begin = low + part * length;
    const int64_t end = begin + length < high ? begin + length : high;
    decode_part(s, few, queries, k + s.key(b, kv, 0), v + s.key(b, kv, 0), begin, end, scores, partials + index * floats);
  };
  pool.run(s.B * s.K * parts, task);

  for (int64_t index = 0; index < s.B * s.K * few; index++) {
    const int64_t c = index % few, kv = index / few % s.K, b = index / few / s.K;
    auto partial = [&](int64_t part) { return Partial{partials + ((b * s.K + kv) * parts + part) * floats + c * Partial::floats(s)}; };
    float m = partial(0).m();
    for (int64_t part = 1; part < parts; part++) m = partial(part).m() > m ? partial(part).m() : m;
    float l = 0;
    for (int64_t part = 0; part < parts; part++) l += partial(part).l() * std::exp2(partial(part).m() - m);
    float* row = o + s.query(b, kv, c);
    std::memset(row, 0, static_cast<size_t>(s.E) * 4);
    for (int64_t part = 0; part < parts; part++) {
      const float weight = std::exp2(partial(part).m() - m) / l;
      const float* out = partial(part).out();
      for (int64_t e = 0; e < s.E; e++) row[e] += weight * out[e];
    }
    lse[s.statistic(b, kv, c)] = m * kLn2 + std::log(l);
  }
}

}  // namespace slayer::SLAYER_ISA
