// add_bias: y [M, D] = x [M, D] + b [D] (f32 or bf16), b added to each row. Rows go to the threads.
// sum_rows: s [D] = Σ over the M rows of x [M, D], in blocks of rows (see sum_of_rows).
#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

void add_bias(const Call& call, Pool& pool) {
  const float* const x = call.in[0].f32();
  float* const y = call.out[0].f32();
  const int64_t D = call.in[0].columns();
  call.in[1].with_floats([&](const auto* b) {
    parallel_ranges(pool, call.in[0].rows(), row_grain(D), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; row++) {
        in_vectors(0, D, [=](int64_t j, auto at) {
          at.store(y + row * D + j, at.load(x + row * D + j) + at.load(b + j));
        });
      }
    });
  });
}

void sum_rows(const Call& call, Pool& pool) {
  const float* const x = call.in[0].f32();
  const int64_t D = call.in[0].columns();
  sum_of_rows(pool, call.in[0].rows(), D, call.out[0].f32(),
              [=](int64_t i, int64_t j, auto at) { return at.load(x + i * D + j); });
}

}  // namespace slayer::SLAYER_ISA
