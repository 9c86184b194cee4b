// C = op(A)·op(B), op(X) = X or Xᵀ; a tensor [..., D] is taken as the matrix [rows, D].
//
//   A: [..., K], or [..., M] with transposeA;  B: [K, N], or [N, K] with transposeB;  C: [..., N] or [M, N]
//
// B may be stored in bf16; it is widened where it is packed or read. Four ways, by shape:
//   thin    M or N ≤ kThin: the other operand is read once, in place, its rows or columns divided between the tasks;
//   dots    M ≤ kDots, rows of both operands contiguous along k (A·Bᵀ): B is read once, in place, as in thin;
//   small   each task multiplies a strip of C by itself, packing what it needs (gemm.h); so with few rows of A, too;
//   large   B is packed once by all threads together, a slab of k at a time; then C is divided into strips of rows, whose tasks pack
//           the rows of A that they read.
// An element of C is computed by one task, in an order of summation that depends on K (and, between thin and the others, on
// the shape) alone: results are the same bits for any number of threads.
#include "gemm.h"
#include "thin.h"

namespace slayer::SLAYER_ISA {

namespace {

constexpr int64_t kMostColumns = 4096;        // of B in one slab
constexpr int64_t kSlabFloats = 4 << 20;      // of A and B that a slab is made of: 16 MiB, about what L3 keeps
constexpr int64_t kSmallProducts = 32 << 20;  // multiplications in a small product: below a millisecond
constexpr int64_t kAloneProducts = 1 << 16;   // and in one that is not worth waking a thread for
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kDots = 16;           // rows of A that do not repay the packing of B
constexpr int64_t kDotsShortest = 128;  // k from which summing over lanes costs little

// op(A), op(B) and C of one product, as gemm takes them. E: float or Bf16, how B is stored.
template <class E>
struct Product {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_col;
  const E* b;
  int64_t b_row, b_col;
  float* c;
  int64_t c_row;
};

int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

// The part of n that one of `parts` gets, rounded up to whole strips of `width`.
int64_t share(int64_t n, int64_t parts, int64_t width) { return ceil_div(ceil_div(n, parts), width) * width; }

// x (rows of X along k) times w; Y's element [t, j] at t·y_row + j·y_column.
template <class X, class W>
void multiply_thin(Pool& pool, int64_t rows, int64_t length, int64_t k, const X* x, int64_t x_row, int64_t x_column, const W* w,
                   int64_t w_row, int64_t w_column, float* y, int64_t y_row, int64_t y_column) {
  Thin<W> shape{k, nullptr, x_row, w, w_row, w_column, y, y_row, y_column};
  if constexpr (std::is_same_v<X, float>) shape.x = x_column == 1 ? x : nullptr;
  if (!shape.x) {
    float* copy = static_cast<float*>(pool.scratch(0, 0, static_cast<size_t>(rows * k) * sizeof(float)));
    for (int64_t t = 0; t < rows; t++) {
      for (int64_t p = 0; p < k; p++) copy[t * k + p] = widen(x[t * x_row + p * x_column]);
    }
    shape.x = copy;
    shape.x_row = k;
  }
  // At least 64 KiB of W to a task, and whole cache lines of a row.
  const int64_t unit = 64;
  const int64_t grain = std::max<int64_t>(1, ceil_div(16384, k * unit));
  parallel_ranges(pool, ceil_div(length, unit), grain, [&](int64_t begin, int64_t end) {
    thin(rows, shape, begin * unit, std::min(length, end * unit));
  });
}

template <class E>
void multiply_dots(Pool& pool, const Product<E>& s) {
  const Thin<E> shape{s.k, s.a, s.a_row, s.b, s.b_col, 1, s.c, s.c_row, 1};
  const int64_t unit = 16;  // a cache line of C
  const int64_t units = ceil_div(s.n, unit);
  const int64_t tasks = s.m * s.n * s.k <= kAloneProducts ? 1 : std::min(units, kTasksPerThread * pool.threads());
  auto task = [&](int64_t t, int) {
    thin_many(s.m, shape, units * t / tasks * unit, std::min(s.n, units * (t + 1) / tasks * unit));
  };
  pool.run(tasks, task);
}

template <class E>
void multiply_small(Pool& pool, const Product<E>& s) {
  const int64_t products = s.m * s.n * s.k;
  const bool by_rows = s.m >= s.n;
  const int64_t most = products <= kSmallProducts ? pool.threads() : kTasksPerThread * pool.threads();
  const int64_t parts = products <= kAloneProducts ? 1 : most;
  const int64_t size = by_rows ? share(s.m, parts, kTileRows) : share(s.n, parts, kTileColumns);
  auto task = [&](int64_t t, int thread) {
    GemmScratch scratch(pool, thread);
    const int64_t i0 = by_rows ? t * size : 0;
    const int64_t j0 = by_rows ? 0 : t * size;
    gemm(by_rows ? std::min(size, s.m - i0) : s.m, by_rows ? s.n : std::min(size, s.n - j0), s.k, s.a + i0 * s.a_row, s.a_row,
         s.a_col, s.b + j0 * s.b_col, s.b_row, s.b_col, s.c + i0 * s.c_row + j0, s.c_row, false, scratch);
  };
  const int64_t tasks = ceil_div(by_rows ? s.m : s.n, size);
  if (tasks == 1) {
    task(0, 0);
  } else {
    pool.run(tasks, task);
  }
}

// Steps [k0, k1) of a product with at most kMostColumns columns: packs B together, then adds them to C, a strip of rows to a task.
template <class E>
void multiply_slab(Pool& pool, const Product<E>& s, int64_t k0, int64_t k1, int64_t step) {
  const int64_t columns = whole_vectors(s.n);
  const auto floats = [&](int slot, int64_t n) {
    return static_cast<float*>(pool.scratch(0, slot, static_cast<size_t>(n) * sizeof(float)));
  };
  const bool packs_a = !in_place(s.a_row, s.a_col);
  float* packed_b = floats(1, columns * (k1 - k0));
  const int64_t blocks = ceil_div(k1 - k0, step);

  constexpr int64_t kPackColumns = 2 * kTileColumns;
  auto pack = [&](int64_t t, int) {
    const int64_t j = t / blocks * kPackColumns;
    const int64_t p = k0 + t % blocks * step;
    const int64_t kc = std::min(step, k1 - p);
    pack_b(std::min(kPackColumns, s.n - j), kc, s.b + j * s.b_col + p * s.b_row, s.b_row, s.b_col,
           packed_b + columns * (p - k0) + j * kc);
  };
  pool.run(ceil_div(s.n, kPackColumns) * blocks, pack);

  // A task is a group of strips, all of about one size and as many for each thread: with a few more, one would wait.
  const int64_t strips = ceil_div(s.m, kTileRows);
  const int64_t tasks = std::min(strips, ceil_div(strips, kGroup * pool.threads()) * pool.threads());
  auto multiply = [&](int64_t t, int thread) {
    const int64_t i = strips * t / tasks * kTileRows;
    const int64_t rows = std::min(s.m, strips * (t + 1) / tasks * kTileRows) - i;
    for (int64_t p = k0; p < k1; p += step) {
      const int64_t kc = std::min(step, k1 - p);
      const float* a = s.a + i * s.a_row + p * s.a_col;
      if (packs_a) {
        float* packed = static_cast<float*>(pool.scratch(thread, 2, static_cast<size_t>(kGroupRows * kc) * sizeof(float)));
        pack_a(rows, kc, a, s.a_row, s.a_col, packed);
        a = packed;
      }
      multiply_packed(rows, s.n, kc, a, packs_a ? 0 : s.a_row, packed_b + columns * (p - k0), s.c + i * s.c_row, s.c_row, p > 0);
    }
  };
  pool.run(tasks, multiply);
}

template <class E>
void multiply_large(Pool& pool, const Product<E>& s) {
  const int64_t step = block_k(s.k);
  for (int64_t j = 0; j < s.n; j += kMostColumns) {
    const Product<E> part{s.m, std::min(kMostColumns, s.n - j), s.k, s.a, s.a_row, s.a_col, s.b + j * s.b_col, s.b_row, s.b_col, s.c + j, s.c_row};
    const int64_t slab = std::max<int64_t>(1, kSlabFloats / ((part.m + part.n) * step)) * step;
    for (int64_t p = 0; p < s.k; p += slab) multiply_slab(pool, part, p, std::min(s.k, p + slab), step);
  }
}

template <class E>
void multiply(const Call& call, Pool& pool, const E* b_data) {
  const Operand& a = call.in[0];
  const Operand& b = call.in[1];
  const bool transpose_a = call.attr("transposeA") != 0;
  const bool transpose_b = call.attr("transposeB") != 0;
  const int64_t m = transpose_a ? a.columns() : a.rows();
  const int64_t k = transpose_a ? a.rows() : a.columns();
  const int64_t n = transpose_b ? b.rows() : b.columns();
  const Product<E> s{m,      n,                   k,                   a.f32(), transpose_a ? 1 : k, transpose_a ? m : 1,
                     b_data, transpose_b ? 1 : n, transpose_b ? k : 1, call.out[0].f32(), n};
  if (m <= kThin) {
    multiply_thin(pool, m, n, k, s.a, s.a_row, s.a_col, s.b, s.b_col, s.b_row, s.c, n, 1);
  } else if (n <= kThin) {
    multiply_thin(pool, n, m, k, s.b, s.b_col, s.b_row, s.a, s.a_row, s.a_col, s.c, 1, n);
  } else if (m <= kDots && k >= kDotsShortest && s.a_col == 1 && s.b_row == 1) {
    multiply_dots(pool, s);
  } else if (m * n * k <= kSmallProducts || (m <= kFewRows && m < n)) {
    multiply_small(pool, s);
  } else {
    multiply_large(pool, s);
  }
}

}  // namespace

void matmul(const Call& call, Pool& pool) {
  call.in[1].with_floats([&](const auto* b) { multiply(call, pool, b); });
}

}  // namespace slayer::SLAYER_ISA
