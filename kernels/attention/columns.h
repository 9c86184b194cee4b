// Which queries a tile holds, and which keys they see.
//
// The queries of one kv head are the columns of all its tiles: column c is head c mod G of the group at row ⌊c/G⌋, so that a
// group shares every key it loads, and positions ascend along the columns. Column vectors are whole: those past the last query
// repeat it, and what is computed for them is not written.
#pragma once

#include <cstdio>
#include <stdexcept>

#include "../cpu/kernel.h"
#include "../matmul/pack.h"
#include "micro.h"

namespace slayer::SLAYER_ISA {

constexpr int64_t kKeys = 64;     // keys in a tile; tiles start at multiples of it
constexpr int64_t kColumns = 96;  // most columns in a tile: whole panels on every instruction set
static_assert(kColumns % kPanel == 0 && kKeys % kMicroRows == 0);

// q and o [B, T, H·E], k and v [B, S, K·E]; G = H/K heads share a kv head.
struct AttentionSizes {
  int64_t B, T, S, H, K, E, G;
  int64_t padded;  // E rounded up to whole vectors and micro tiles
  float scale;
  int64_t window;           // 0: no bound
  int64_t offset;           // position of row 0
  const int32_t* segments;  // [B, S] or null

  AttentionSizes(const Call& call, const Operand& q, const Operand& k, const Operand* extra)
      : B(q.shape[0]), T(q.shape[1]), S(k.shape[1]), H(static_cast<int64_t>(call.attr("heads"))),
        K(static_cast<int64_t>(call.attr("kvHeads"))), E(q.shape[2] / H), G(H / K), padded((E + 15) / 16 * 16),
        scale(static_cast<float>(call.attr("scale"))), window(static_cast<int64_t>(call.attr("window"))),
        offset(extra && call.attr("offset") ? extra->i32()[0] : 0),
        segments(extra && call.attr("segments") ? extra->i32() : nullptr) {
    if (offset >= 0 && offset + T <= S) return;
    char text[160];
    std::snprintf(text, sizeof text, "attention: rows at %lld..%lld, keys 0..%lld", static_cast<long long>(offset),
                  static_cast<long long>(offset + T - 1), static_cast<long long>(S - 1));
    throw std::out_of_range(text);
  }

  int64_t tiles() const { return (T * G + kColumns - 1) / kColumns; }
  // Where in k (or v) head `kv` of this row begins.
  int64_t key(int64_t b, int64_t kv, int64_t row) const { return ((b * S + row) * K + kv) * E; }
};

struct Columns {
  const AttentionSizes& sizes;
  int64_t b, kv;
  int64_t first, count;         // columns first … first + count − 1
  int64_t vectors, panels;
  int64_t key_begin, key_end;   // keys that some column may see; begins at the start of a tile
  int64_t statistic[kColumns];  // where in lse [B, H, T] the column's value is
  int64_t query[kColumns];      // where in q (and o) the column's E floats begin
  int32_t position[kColumns];   // ascending
  int32_t segment[kColumns];
  int32_t segment_low, segment_high;

  Columns(const AttentionSizes& s, int64_t b, int64_t kv, int64_t tile) : sizes(s), b(b), kv(kv), first(tile * kColumns) {
    count = s.T * s.G - first < kColumns ? s.T * s.G - first : kColumns;
    vectors = (count + kLanes - 1) / kLanes;
    panels = (vectors + kMicroVectors - 1) / kMicroVectors;
    int64_t row = first / s.G, head = first % s.G;
    for (int64_t c = 0; c < vectors * kLanes; c++) {
      query[c] = c < count ? ((b * s.T + row) * s.H + kv * s.G + head) * s.E : query[c - 1];
      statistic[c] = c < count ? (b * s.H + kv * s.G + head) * s.T + row : statistic[c - 1];
      position[c] = c < count ? static_cast<int32_t>(s.offset + row) : position[c - 1];
      if (++head == s.G) head = 0, row++;
      segment[c] = s.segments ? s.segments[b * s.S + position[c]] : 0;
      if (c == 0 || segment[c] < segment_low) segment_low = segment[c];
      if (c == 0 || segment[c] > segment_high) segment_high = segment[c];
    }
    key_end = last_position(vectors - 1) + 1;
    key_begin = lowest_key(0) / kKeys * kKeys;
  }

  int64_t first_position(int64_t vector) const { return position[vector * kLanes]; }
  int64_t last_position(int64_t vector) const { return position[vector * kLanes + kLanes - 1]; }
  // The first key that any column from this vector on sees.
  int64_t lowest_key(int64_t vector) const {
    const int64_t low = first_position(vector) - sizes.window + 1;
    return sizes.window > 0 && low > 0 ? low : 0;
  }
  int64_t vectors_of(int64_t panel) const {
    const int64_t left = vectors - panel * kMicroVectors;
    return left < kMicroVectors ? left : kMicroVectors;
  }
};

enum class Segments { same, mixed, apart };

// How the segments of keys [key, key + n) lie to those of the columns.
inline Segments compare_segments(const Columns& columns, int64_t key, int64_t n) {
  if (!columns.sizes.segments) return Segments::same;
  const int32_t* of = columns.sizes.segments + columns.b * columns.sizes.S + key;
  int32_t low = of[0], high = of[0];
  for (int64_t j = 1; j < n; j++) {
    low = of[j] < low ? of[j] : low;
    high = of[j] > high ? of[j] : high;
  }
  if (low > columns.segment_high || high < columns.segment_low) return Segments::apart;
  return low == columns.segment_high && high == columns.segment_low ? Segments::same : Segments::mixed;
}

// Makes −∞ the scores of R keys from `key` on that vectors first … first + V − 1 don't see, rows past key_end included.
template <int R, int V>
SLAYER_INLINE void mask(Vec (&scores)[R][V], const Columns& columns, int64_t first, int64_t key, bool segments) {
  const AttentionSizes& s = columns.sizes;
  const Vec hidden = splat(-__builtin_inff());
#pragma GCC unroll 4
  for (int v = 0; v < V; v++) {
    const bool late = key + R - 1 > columns.first_position(first + v);
    const bool early = s.window > 0 && key <= columns.last_position(first + v) - s.window;
    if (!late && !early && !segments) continue;
    const IVec position = (IVec)load(reinterpret_cast<const float*>(columns.position + (first + v) * kLanes));
    const IVec segment = (IVec)load(reinterpret_cast<const float*>(columns.segment + (first + v) * kLanes));
    const int32_t window = static_cast<int32_t>(s.window > 0 && s.window < INT32_MAX ? s.window : INT32_MAX);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const int32_t j = static_cast<int32_t>(key) + r;
      IVec seen = (position >= j) & (position - j < window);
      if (segments && j < columns.key_end) seen &= segment == s.segments[columns.b * s.S + j];
      scores[r][v] = seen ? scores[r][v] : hidden;
    }
  }
}

// to[panel][e][kPanel]: the columns of a tensor shaped as q, transposed and multiplied by `factor`.
inline void pack_columns(const Columns& columns, const float* from, float factor, float* to) {
  const AttentionSizes& s = columns.sizes;
  for (int64_t v = 0; v < columns.vectors; v++) {
    const float* rows[kLanes];
    for (int i = 0; i < kLanes; i++) rows[i] = from + columns.query[v * kLanes + i];
    float* out = to + v / kMicroVectors * s.E * kPanel + v % kMicroVectors * kLanes;
    for (int64_t e = 0; e < s.E; e += kLanes) {
      const int64_t n = s.E - e < kLanes ? s.E - e : kLanes;
      Vec block[kLanes];
      for (int i = 0; i < kLanes; i++) block[i] = (n == kLanes ? load(rows[i] + e) : load_part(rows[i] + e, n)) * factor;
      transpose(block);
      for (int i = 0; i < n; i++) store(out + (e + i) * kPanel, block[i]);
    }
  }
}

// The inverse: columns of `from` [panel][padded][kPanel], each times its `factor` [panels·kPanel], to where they belong.
inline void unpack_columns(const Columns& columns, const float* from, const float* factor, float* to) {
  const AttentionSizes& s = columns.sizes;
  for (int64_t v = 0; v < columns.vectors; v++) {
    const float* in = from + v / kMicroVectors * s.padded * kPanel + v % kMicroVectors * kLanes;
    const Vec scale = load(factor + v * kLanes);
    for (int64_t e = 0; e < s.E; e += kLanes) {
      const int64_t n = s.E - e < kLanes ? s.E - e : kLanes;
      Vec block[kLanes];
      for (int i = 0; i < kLanes; i++) block[i] = load(in + (e + i) * kPanel) * scale;
      transpose(block);
      for (int i = 0; i < kLanes && v * kLanes + i < columns.count; i++) {
        float* row = to + columns.query[v * kLanes + i] + e;
        if (n == kLanes) store(row, block[i]);
        else store_part(row, block[i], n);
      }
    }
  }
}

// to[e] = from[e] for e < n, 0 for n ≤ e < padded.
SLAYER_INLINE void copy_padded(const float* from, int64_t n, int64_t padded, float* to) {
  int64_t e = 0;
  for (; e + kLanes <= n; e += kLanes) store(to + e, load(from + e));
  for (; e < n; e++) to[e] = from[e];
  for (; e < padded; e++) to[e] = 0;
}

// to[n][padded]: rows key … key + n − 1 of one head of k or v, and zero rows up to a whole micro tile.
inline void pack_keys(const AttentionSizes& s, const float* from, int64_t b, int64_t kv, int64_t key, int64_t n, float* to) {
  const int64_t whole = (n + kMicroRows - 1) / kMicroRows * kMicroRows;
  const float* rows = from + s.key(b, kv, key);
  for (int64_t j = 0; j < n; j++) copy_padded(rows + j * s.K * s.E, s.E, s.padded, to + j * s.padded);
  std::memset(to + n * s.padded, 0, static_cast<size_t>((whole - n) * s.padded) * 4);
}

// Calls body(r, first, acc) for micro tiles of rows·columns, acc = the products of kMicroRows rows of a packed key tile from row
// r on, with the vectors of a panel (of packed columns) from `first` on: those before see none of these keys.
template <class F>
SLAYER_INLINE void for_products(const Columns& columns, int64_t panel, int64_t key, int64_t n, const float* keys,
                                const float* packed, F body) {
  const AttentionSizes& s = columns.sizes;
  const int64_t vectors = columns.vectors_of(panel);
  int64_t first = 0;
  for (int64_t r = 0; r < n; r += kMicroRows) {
    while (first < vectors && columns.last_position(panel * kMicroVectors + first) < key + r) first++;
    if (first == vectors) return;
    with_count(vectors - first, [&](auto count) {
      Vec acc[kMicroRows][decltype(count)::value] = {};
      multiply<true>(s.E, keys + r * s.padded, s.padded, packed + first * kLanes, kPanel, acc);
      body(r, first, acc);
    });
  }
}

// For each vector of a panel, how many of the n keys from `key` on any of its columns sees by order alone; ascending.
inline void count_seen(const Columns& columns, int64_t panel, int64_t key, int64_t n, int64_t (&seen)[kMicroVectors]) {
  for (int64_t v = 0; v < columns.vectors_of(panel); v++) {
    const int64_t upto = columns.last_position(panel * kMicroVectors + v) + 1 - key;
    seen[v] = upto < 0 ? 0 : upto < n ? upto : n;
  }
}

// acc[r][v] += Σ_j rows[j][r]·weights[j][v] over the first seen[v] keys j.
template <int First = 0, int V>
SLAYER_INLINE void multiply_seen(const int64_t (&seen)[kMicroVectors], const float* rows, int64_t stride, const float* weights,
                                 int64_t weights_stride, Vec (&acc)[kMicroRows][V]) {
  const int64_t from = First == 0 ? 0 : seen[First == 0 ? 0 : First - 1];
  multiply<false, First>(seen[First] - from, rows + from * stride, stride, weights + from * weights_stride, weights_stride, acc);
  if constexpr (First + 1 < V) multiply_seen<First + 1>(seen, rows, stride, weights, weights_stride, acc);
}

}  // namespace slayer::SLAYER_ISA
