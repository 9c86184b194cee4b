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
