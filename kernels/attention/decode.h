// Attention for a handful of queries over many keys: one token of a generation, or a few.
//
// Bound by reading K and V once, so lanes lie along E: a score is a dot product, an output a sum of rows of V. The keys of a
// sequence are cut in at most kParts equal parts, whatever the number of threads; a task is one part of all kv heads, block by
// block of keys, so that memory is read nearly in order, and while one head's block is worked on the next is fetched. It yields
// m = max s, l = Σ 2^(s − m) and Σ 2^(s − m) v for each query; these are joined in order of the keys. Scores are in units of log₂.
#pragma once

#include "columns.h"

namespace slayer::SLAYER_ISA {

constexpr int kFew = kMicroRows < kLanes ? kMicroRows : kLanes;  // most queries per kv head
constexpr int64_t kBlock = 16;  // keys at a time: rows lie a power of two apart, and L2 has few places for such
constexpr int64_t kParts = 64;

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

// Asks for n rows of E floats, `stride` apart, to be brought into L2.
SLAYER_INLINE void fetch(const float* rows, int64_t n, int64_t stride, int64_t E) {
  for (int64_t j = 0; j < n; j++) {
    for (int64_t e = 0; e < E; e += 16) __builtin_prefetch(rows + j * stride + e, 0, 2);
  }
}

// scores[c·kBlock + j] = query c · row j of keys, for n keys that lie `stride` floats apart. kLanes products at a time: those of
// J = kLanes/C keys with C queries, so that a key is read once.
template <int C>
void score_keys(const AttentionSizes& s, const float* queries, const float* keys, int64_t stride, int64_t n, float* scores) {
  constexpr int J = kLanes / C;
  for (int64_t j = 0; j < n; j += J) {
    const float* rows[J];
    for (int i = 0; i < J; i++) rows[i] = keys + (j + i < n ? j + i : n - 1) * stride;
    Vec acc[kLanes] = {};
    for (int64_t e = 0; e < s.E; e += kLanes) {
      Vec row[J];
#pragma GCC unroll 16
      for (int i = 0; i < J; i++) row[i] = load(rows[i] + e);
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) {
        const Vec query = load(queries + c * s.E + e);
#pragma GCC unroll 16
        for (int i = 0; i < J; i++) acc[c * J + i] = fma(query, row[i], acc[c * J + i]);
      }
    }
    float sums[kLanes];
    store(sums, sum_each(acc));
    for (int c = 0; c < C; c++) std::memcpy(scores + c * kBlock + j, sums + c * J, J * sizeof(float));
  }
}

// Makes −∞ the scores of those of the n keys from `key` on (rounded up to whole vectors) that a query at `position` doesn't see.
inline void hide_keys(float* scores, int64_t key, int64_t n, int64_t position, int64_t window) {
  const int64_t low = window > 0 ? position - window + 1 : 0;
  if (key >= low && key + n - 1 <= position && n % kLanes == 0) return;
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

// Adds keys [key, key + n) of one kv head to the partials of its `few` queries [kFew][E], multiplied by scale·log₂ e.
inline void decode_block(const AttentionSizes& s, int64_t few, const float* queries, const float* keys, const float* values,
                         int64_t key, int64_t n, float* scores, float* partials) {
  const int64_t stride = s.K * s.E;
  if (few == 1) score_keys<1>(s, queries, keys, stride, n, scores);
  else if (few == 2) score_keys<2>(s, queries, keys, stride, n, scores);
  else if (few <= 4) score_keys<4>(s, queries, keys, stride, n, scores);
  else score_keys<kFew>(s, queries, keys, stride, n, scores);
  Vec shrink[kFew];
  for (int64_t c = 0; c < few; c++) {
    const Partial part{partials + c * Partial::floats(s)};
    float* row = scores + c * kBlock;
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
        float* out = Partial{partials}.out() + e;
        Vec acc[C][V];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) acc[c][v] = load(out + c * Partial::floats(s) + v * kLanes) * shrink[c];
        }
        multiply<true>(n, scores, kBlock, values + e, stride, acc);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) store(out + c * Partial::floats(s) + v * kLanes, acc[c][v]);
        }
        e += V * kLanes;
      });
    }
  });
}

// Where in q (and o) head c mod G of a kv head at row ⌊c/G⌋ begins.
inline int64_t query_at(const AttentionSizes& s, int64_t b, int64_t kv, int64_t c) {
  return ((b * s.T + c / s.G) * s.H + kv * s.G + c % s.G) * s.E;
}

inline void decode(const AttentionSizes& s, const float* q, const float* k, const float* v, float* o, float* lse, Pool& pool) {
  const int64_t few = s.T * s.G;
  const int64_t low = s.window > 0 && s.offset >= s.window ? s.offset - s.window + 1 : 0;
  const int64_t high = s.offset + s.T;
  const int64_t length = ((high - low + kParts - 1) / kParts + kKeys - 1) / kKeys * kKeys;
  const int64_t parts = (high - low + length - 1) / length;
  const int64_t floats = few * Partial::floats(s);  // of a part and kv head
  float* partials = static_cast<float*>(pool.scratch(0, 3, static_cast<size_t>(s.B * parts * s.K * floats) * 4));

  auto task = [&](int64_t index, int thread) {
    const int64_t b = index / parts, begin = low + index % parts * length;
    const int64_t end = begin + length < high ? begin + length : high;
    float* own = partials + index * s.K * floats;
    // Room for the scores and queries of kFew, however few there are: what is computed for the others is not used.
    const int64_t room = kFew * kBlock + s.K * kFew * s.E;
    float* scores = static_cast<float*>(pool.scratch(thread, 0, static_cast<size_t>(room) * 4));
    float* queries = scores + kFew * kBlock;
    std::memset(queries, 0, static_cast<size_t>(s.K * kFew * s.E) * 4);
    for (int64_t kv = 0; kv < s.K; kv++) {
      for (int64_t c = 0; c < few; c++) {
        const float* row = q + query_at(s, b, kv, c);
        float* query = queries + (kv * kFew + c) * s.E;
        for (int64_t e = 0; e < s.E; e++) query[e] = row[e] * (s.scale * kLog2e);
        const Partial part{own + kv * floats + c * Partial::floats(s)};
        std::memset(part.at, 0, static_cast<size_t>(Partial::floats(s)) * 4);
        part.m() = kLowest;
      }
    }
    for (int64_t key = begin; key < end; key += kBlock) {
      const int64_t n = end - key < kBlock ? end - key : kBlock;
      for (int64_t kv = 0; kv < s.K; kv++) {
        const bool last = kv == s.K - 1;
        const int64_t next = s.key(b, last ? 0 : kv + 1, last ? key + n : key);
        const int64_t follow = !last ? n : end - key - n < kBlock ? end - key - n : kBlock;
        fetch(k + next, follow, s.K * s.E, s.E);
        fetch(v + next, follow, s.K * s.E, s.E);
        const int64_t at = s.key(b, kv, key);
        decode_block(s, few, queries + kv * kFew * s.E, k + at, v + at, key, n, scores, own + kv * floats);
      }
    }
  };
  pool.run(s.B * parts, task);

  for (int64_t index = 0; index < s.B * s.K * few; index++) {
    const int64_t c = index % few, kv = index / few % s.K, b = index / few / s.K;
    auto partial = [&](int64_t part) { return Partial{partials + ((b * parts + part) * s.K + kv) * floats + c * Partial::floats(s)}; };
    float m = partial(0).m();
    for (int64_t part = 1; part < parts; part++) m = partial(part).m() > m ? partial(part).m() : m;
    float l = 0;
    for (int64_t part = 0; part < parts; part++) l += partial(part).l() * std::exp2(partial(part).m() - m);
    float* row = o + query_at(s, b, kv, c);
    std::memset(row, 0, static_cast<size_t>(s.E) * 4);
    for (int64_t part = 0; part < parts; part++) {
      const float weight = std::exp2(partial(part).m() - m) / l;
      const float* out = partial(part).out();
      for (int64_t e = 0; e < s.E; e++) row[e] += weight * out[e];
    }
    lse[(b * s.H + kv * s.G + c % s.G) * s.T + c / s.G] = m * kLn2 + std::log(l);
  }
}

}  // namespace slayer::SLAYER_ISA
