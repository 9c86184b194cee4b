// SwiGLU (Shazeer 2020) and its gradients; all operands of one shape [N], σ the logistic function.
//
//   swiglu:           y = g·σ(g)·up
//   swiglu_backward:  dg = dy·up·σ(g)·(1 + g·(1 − σ(g))),  dup = dy·g·σ(g)
//
// Ranges of N go to the threads. e^(−g) may be infinite: σ is then 0, as it should be.
#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

static SLAYER_INLINE Vec sigmoid(Vec g) { return 1.0f / (1.0f + exp(-g)); }

void swiglu(const Call& call, Pool& pool) {
  const float* const gate = call.in[0].f32();
  const float* const up = call.in[1].f32();
  float* const y = call.out[0].f32();
  parallel_ranges(pool, call.out[0].size(), kElementGrain / 4, [=](int64_t begin, int64_t end) {
    in_vectors(begin, end, [=](int64_t i, auto at) {
      const Vec g = at.load(gate + i);
      at.store(y + i, g * sigmoid(g) * at.load(up + i));
    });
  });
}

void swiglu_backward(const Call& call, Pool& pool) {
  const float* const dy = call.in[0].f32();
  const float* const gate = call.in[1].f32();
  const float* const up = call.in[2].f32();
  float* const dgate = call.out[0].f32();
  float* const dup = call.out[1].f32();
  parallel_ranges(pool, call.out[0].size(), kElementGrain / 4, [=](int64_t begin, int64_t end) {
    in_vectors(begin, end, [=](int64_t i, auto at) {
      const Vec g = at.load(gate + i);
      const Vec d = at.load(dy + i);
      const Vec s = sigmoid(g);
      at.store(dgate + i, d * at.load(up + i) * s * (1.0f + g * (1.0f - s)));
      at.store(dup + i, d * g * s);
    });
  });
}

}  // namespace slayer::SLAYER_ISA
