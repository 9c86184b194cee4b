// What the loss of the LM head and its gradient share: the check of the targets, and how rows are dealt to tasks.
#pragma once

#include <cstdio>
#include <stdexcept>

#include "../matmul/gemm.h"

namespace slayer::SLAYER_ISA {

constexpr int32_t kIgnoreTarget = -100;  // not scored: loss and gradient 0

// Throws if one of n targets is neither a row of W [V, D] nor kIgnoreTarget.
inline void check_targets(const char* op, const int32_t* targets, int64_t n, int64_t vocabulary) {
  for (int64_t i = 0; i < n; i++) {
    if (targets[i] == kIgnoreTarget || (targets[i] >= 0 && targets[i] < vocabulary)) continue;
    char text[160];
    std::snprintf(text, sizeof text, "%s: target %d at position %lld is outside 0..%lld", op, static_cast<int>(targets[i]),
                  static_cast<long long>(i), static_cast<long long>(vocabulary - 1));
    throw std::out_of_range(text);
  }
}

// Of some logits of a row: m = max, l = Σ exp(logit − m), 0 where all are −∞.
struct Part {
  float m, l;
};

// With Kept the logits become exp(logit − m).
template <bool Kept>
Part reduce(float* logits, int64_t n) {
  Vec top = splat(-__builtin_inff());
  for (int64_t j = 0; j < n; j += kLanes) {
    const Vec x = n - j >= kLanes ? load(logits + j) : load_part(logits + j, n - j, -__builtin_inff());
    top = x > top ? x : top;
  }
  const float m = max_lane(top);
  const float from = m == -__builtin_inff() ? 0 : m;
  Vec total = Vec{};
  for (int64_t j = 0; j < n; j += kLanes) {
    const bool whole = n - j >= kLanes;
    const Vec e = exp((whole ? load(logits + j) : load_part(logits + j, n - j, -__builtin_inff())) - from);
    if (Kept && whole) store(logits + j, e);
    else if (Kept) store_part(logits + j, e, n - j);
    total += e;
  }
  return {m, sum(total)};
}

// The row's log-sum-exp, of its parts in their order.
inline double log_sum(const Part* parts, int64_t count) {
  float m = parts[0].m;
  for (int64_t c = 1; c < count; c++) m = parts[c].m > m ? parts[c].m : m;
  double l = 0;
  for (int64_t c = 0; c < count; c++) l += static_cast<double>(parts[c].l) * std::exp(static_cast<double>(parts[c].m) - m);
  return m + std::log(l);
}

inline void scale(float* x, int64_t n, float by) {
  for (int64_t j = 0; j < n; j += kLanes) {
    if (n - j >= kLanes) store(x + j, load(x + j) * by);
    else store_part(x + j, load_part(x + j, n - j) * by, n - j);
  }
}

SLAYER_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Number of pieces of this size, the last perhaps smaller.
SLAYER_INLINE int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Rows of a product per task, of `rows` in all: every task packs the other operand anew, so few and tall ones, but two for each
// thread. gemm sums in an order that does not depend on the rows it is given, so neither do the results.
inline int64_t rows_per_task(int64_t rows, const Pool& pool) {
  const int64_t whole = 2 * kTileRows > 24 ? 2 * kTileRows : 24;
  const int64_t height = pieces(pieces(rows, 2 * pool.threads()), whole) * whole;
  return least(height < 2 * whole ? 2 * whole : height, 1024);
}

}  // namespace slayer::SLAYER_ISA
