// RMSNorm (Zhang & Sennrich 2019) and its gradients. x, y, dy, dx, c [M, D], w (f32 or bf16), dw [D], r [M].
//
//   rmsnorm:                     r = (mean(x²) + eps)^(−1/2),  y = x·r·w
//   rmsnorm_backward_input:      dx = r·(w∘dy − x·r²·mean(w∘dy∘x))
//   rmsnorm_backward_input_add:  dx + c
//   rmsnorm_backward_weight:     dw = Σ over rows of dy∘x·r
//
// Rows go to the threads; a row is read twice, the second time from the cache. dw is summed in blocks of rows (sum_of_rows).
#include <cmath>

#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

template <class W>
static void normalise(const Call& call, Pool& pool, const W* w) {
  const int64_t D = call.in[1].size();
  const double eps = call.attr("eps");
  parallel_ranges(pool, call.in[0].rows(), row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const float* const x = call.in[0].f32() + row * D;
      float* const y = call.out[0].f32() + row * D;
      const float squares = sum_in_vectors(0, D, [=](int64_t j, auto at) {
        const Vec v = at.load(x + j);
        return v * v;
      });
      const auto r = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(D) + eps));
      call.out[1].f32()[row] = r;
      in_vectors(0, D, [=](int64_t j, auto at) { at.store(y + j, at.load(x + j) * r * at.load(w + j)); });
    }
  });
}

void rmsnorm(const Call& call, Pool& pool) {
  call.in[1].with_floats([&](const auto* w) { normalise(call, pool, w); });
}

template <bool Add, class W>
static void backward_input(const Call& call, Pool& pool, const W* w) {
  const int64_t D = call.in[2].size();
  parallel_ranges(pool, call.in[3].size(), row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const float* const dy = call.in[0].f32() + row * D;
      const float* const x = call.in[1].f32() + row * D;
      float* const dx = call.out[0].f32() + row * D;
      const float r = call.in[3].f32()[row];
      const float dot = sum_in_vectors(
          0, D, [=](int64_t j, auto at) { return at.load(w + j) * at.load(dy + j) * at.load(x + j); });
      const float along = dot / static_cast<float>(D) * r * r;
      const float* const c = Add ? call.in[4].f32() + row * D : nullptr;
      in_vectors(0, D, [=](int64_t j, auto at) {
        const Vec v = r * (at.load(w + j) * at.load(dy + j) - at.load(x + j) * along);
        if constexpr (Add) at.store(dx + j, v + at.load(c + j));
        else at.store(dx + j, v);
      });
    }
  });
}

void rmsnorm_backward_input(const Call& call, Pool& pool) {
  call.in[2].with_floats([&](const auto* w) { backward_input<false>(call, pool, w); });
}

void rmsnorm_backward_input_add(const Call& call, Pool& pool) {
  call.in[2].with_floats([&](const auto* w) { backward_input<true>(call, pool, w); });
}

void rmsnorm_backward_weight(const Call& call, Pool& pool) {
  const float* const dy = call.in[0].f32();
  const float* const x = call.in[1].f32();
  const float* const r = call.in[2].f32();
  const int64_t D = call.out[0].size();
  sum_of_rows(pool, call.in[2].size(), D, call.out[0].f32(), [=](int64_t i, int64_t j, auto at) {
    return at.load(dy + i * D + j) * at.load(x + i * D + j) * r[i];
  });
}

}  // namespace slayer::SLAYER_ISA
