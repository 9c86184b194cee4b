// clip_factor: norm = |scale|·√squares, factor = scale·min(1, most/(norm + 1e-6)); most 0: factor = scale. All scalars f32.
// adamw (Loshchilov & Hutter 2019) over a flat range [n], one pass: g = factor·gradient, m = β1·m + (1−β1)·g, v = β2·v + (1−β2)·g²,
// p −= lr·(decay·p + m/c1 / (√(v/c2) + eps)). p, m, v f32; the gradient of type G. lr, c1, c2 and factor lie in device memory.
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
  float* const p = static_cast<float*>(args.p);
  for_each<1>(args.n, [&](int64_t i) {
    const float g = factor * to_float(static_cast<const G*>(args.g)[i]);
    const float m = args.beta1 * args.m[i] + args.rest1 * g;
    const float v = args.beta2 * args.v[i] + args.rest2 * g * g;
    args.m[i] = m;
    args.v[i] = v;
    p[i] -= lr * (args.decay * p[i] + m * inverse_c1 / (sqrtf(v * inverse_c2) + args.eps));
  });
}

__device__ __forceinline__ void update_stochastically(const Adamw& args) {
  const float factor = *args.factor;
  const float lr = args.step[0];
  const uint32_t key = stochastic_key(args.seed, static_cast<uint32_t>(args.step[3]));
  bf16* const p = static_cast<bf16*>(args.p);
  for_each<1>(args.n, [&](int64_t i) {
    const float g = exact_mul(factor, static_cast<const float*>(args.g)[i]);
    const float m = exact_add(exact_mul(args.beta1, args.m[i]), exact_mul(args.rest1, g));
    const float v = exact_add(exact_mul(args.beta2, args.v[i]), exact_mul(exact_mul(args.rest2, g), g));
    args.m[i] = m;
    args.v[i] = v;
    const float x = to_float(p[i]);
    const float scaled = exact_div(exact_div(m, args.step[1]), exact_add(exact_sqrt(exact_div(v, args.step[2])), args.eps));
    const float update = exact_mul(lr, exact_add(exact_mul(args.decay, x), scaled));
    p[i] = round_stochastically(exact_add(x, -update), key, i);
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
