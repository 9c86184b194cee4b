// The optimizer's step over flat ranges [N].
//
//   sum_of_squares:  s [1] = Σ x²; blocks of 4096 elements in f32, their sums in f64, in order
//   clip_factor:     norm = |scale|·√sumSquares, factor = scale·min(1, maxNorm/(norm + 1e-6)); maxNorm 0: factor = scale
//   adamw:           g = factor·gradient, m = β1·m + (1−β1)·g, v = β2·v + (1−β2)·g²,
//                    p −= lr·(weightDecay·p + m/c1 / (√(v/c2) + eps)); step [3] = lr, c1, c2 (Loshchilov & Hutter 2019)
//
// adamw is one pass: 16 bytes read and 12 written per parameter, and 2 where a rounded copy is kept. Ranges of N go to the threads.
#include <cmath>

#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

// The compiler makes one instruction of the loop.
static SLAYER_INLINE Vec square_root(Vec x) {
  Vec y;
  for (int i = 0; i < kLanes; i++) y[i] = std::sqrt(x[i]);
  return y;
}

void sum_of_squares(const Call& call, Pool& pool) {
  const float* const x = call.in[0].f32();
  const double total = sum_in_blocks(pool, call.in[0].size(), [=](int64_t i, auto at) {
    const Vec v = at.load(x + i);
    return v * v;
  });
  call.out[0].f32()[0] = static_cast<float>(total);
}

void clip_factor(const Call& call, Pool&) {
  const double scale = call.in[1].f32()[0];
  const double max_norm = call.attr("maxNorm");
  const double norm = std::abs(scale) * std::sqrt(static_cast<double>(call.in[0].f32()[0]));
  const double ratio = max_norm / (norm + 1e-6);
  // Written so that a norm that is not a number gives a factor that is not a number.
  call.out[0].f32()[0] = static_cast<float>(norm);
  call.out[1].f32()[0] = static_cast<float>(scale * (max_norm == 0 || ratio > 1 ? 1 : ratio));
}

void adamw(const Call& call, Pool& pool) {
  float* const p = call.in[0].f32();
  const float* const gradient = call.in[1].f32();
  float* const m = call.in[2].f32();
  float* const v = call.in[3].f32();
  const float factor = call.in[4].f32()[0];
  const float lr = call.in[5].f32()[0];
  const float inverse_c1 = 1 / call.in[5].f32()[1];
  const float inverse_c2 = 1 / call.in[5].f32()[2];
  Bf16* const working = call.in.size() > 6 ? call.in[6].bf16() : nullptr;
  const auto b1 = static_cast<float>(call.attr("beta1"));
  const auto b2 = static_cast<float>(call.attr("beta2"));
  const auto rest1 = static_cast<float>(1 - call.attr("beta1"));
  const auto rest2 = static_cast<float>(1 - call.attr("beta2"));
  const auto eps = static_cast<float>(call.attr("eps"));
  const auto decay = static_cast<float>(call.attr("weightDecay"));
  parallel_ranges(pool, call.in[0].size(), kElementGrain, [=](int64_t begin, int64_t end) {
    in_vectors(begin, end, [=](int64_t i, auto at) {
      const Vec g = factor * at.load(gradient + i);
      const Vec first = b1 * at.load(m + i) + rest1 * g;
      const Vec second = b2 * at.load(v + i) + rest2 * g * g;
      const Vec old = at.load(p + i);
      at.store(m + i, first);
      at.store(v + i, second);
      const Vec update = decay * old + first * inverse_c1 / (square_root(second * inverse_c2) + eps);
      const Vec updated = old - lr * update;
      at.store(p + i, updated);
      if (working != nullptr) at.store(working + i, updated);
    });
  });
}

}  // namespace slayer::SLAYER_ISA
