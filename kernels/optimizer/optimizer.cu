// clip_factor: norm = |scale|·√squares, factor = scale·min(1, most/(norm + 1e-6)); most 0: factor = scale. All scalars f32.
// adamw (Loshchilov & Hutter 2019) over a flat range [n], one pass: g = factor·gradient, m = β1·m + (1−β1)·g, v = β2·v + (1−β2)·g²,
// p −= lr·(decay·p + m/c1 / (√(v/c2) + eps)). p, m, v f32, and a copy of p in bf16 if asked for; the gradient of type G. lr, c1, c2 and
// factor lie in device memory.
// adamw_stochastic: p bf16, rounded stochastically, with a bit pattern that is part of the op's definition (stochastic.h); so is the order
// in which it computes.
#include "../cuda/stochastic.h"

namespace slayer::cuda {

__device__ __forceinline__ void clip_factor(const Clip& args) {
  const float scale = *args.scale;
  const float norm = fabsf(scale) * sqrtf(*args.squares);
  const float ratio = args.most / (norm + 1e-6f);
  *args.norm = norm;
  // Written so that a norm that is not a number gives a factor that is not a number.
  *args.factor = scale * (args.most == 0 || ratio > 1 ? 1 : ratio);
}

template <class G>
__device__ __forceinline__ void adamw(const Adamw& args) {
  const float factor = *args.factor;
  const float lr = args.step[0];
  const float inverse_c1 = 1 / args.step[1];
  const float inverse_c2 = 1 / args.step[2];
  with_width<4>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float p[N], g[N], m[N], v[N];
      load<N>(g, static_cast<const G*>(args.g) + i);
      load<N>(m, args.m + i);
      load<N>(v, args.v + i);
      load<N>(p, static_cast<const float*>(args.p) + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        g[k] *= factor;
        m[k] = args.beta1 * m[k] + args.rest1 * g[k];
        v[k] = args.beta2 * v[k] + args.rest2 * g[k] * g[k];
        p[k] -= lr * (args.decay * p[k] + m[k] * inverse_c1 / (sqrtf(v[k] * inverse_c2) + args.eps));
      }
      store<N>(args.m + i, m);
      store<N>(args.v + i, v);
      store<N>(static_cast<float*>(args.p) + i, p);
      if (args.working != nullptr) store<N>(static_cast<bf16*>(args.working) + i, p);
    });
  });
}

__device__ __forceinline__ void update_stochastically(const Adamw& args) {
  const float factor = *args.factor;
  const float lr = args.step[0];
  const float c1 = args.step[1];
  const float c2 = args.step[2];
  const uint32_t key = stochastic_key(args.seed, static_cast<uint32_t>(args.step[3]));
  with_width<4>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float x[N], g[N], m[N], v[N];
      load<N>(g, static_cast<const float*>(args.g) + i);
      load<N>(m, args.m + i);
      load<N>(v, args.v + i);
      load<N>(x, static_cast<const bf16*>(args.p) + i);
      Pack<bf16, N> p;
#pragma unroll
      for (int k = 0; k < N; k++) {
        g[k] = exact_mul(factor, g[k]);
        m[k] = exact_add(exact_mul(args.beta1, m[k]), exact_mul(args.rest1, g[k]));
        v[k] = exact_add(exact_mul(args.beta2, v[k]), exact_mul(exact_mul(args.rest2, g[k]), g[k]));
        const float scaled = exact_div(exact_div(m[k], c1), exact_add(exact_sqrt(exact_div(v[k], c2)), args.eps));
        const float update = exact_mul(lr, exact_add(exact_mul(args.decay, x[k]), scaled));
        p.v[k] = round_stochastically(exact_add(x[k], -update), key, i + k);
      }
      store<N>(args.m + i, m);
      store<N>(args.v + i, v);
      store_pack<bf16, N>(static_cast<bf16*>(args.p) + i, p);
    });
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(clip_factor_f32, Clip, 32) {
  if (threadIdx.x == 0) clip_factor(args);
}
SLAYER_KERNEL(adamw_f32, Adamw, 256) { adamw<float>(args); }
SLAYER_KERNEL(adamw_bf16, Adamw, 256) { adamw<bf16>(args); }
SLAYER_KERNEL(adamw_stochastic, Adamw, 256) { update_stochastically(args); }
