// SwiGLU (Shazeer 2020): y = g·σ(g)·u; backward dg = dy·u·σ(g)·(1 + g·(1 − σ(g))), du = dy·g·σ(g). All [n] of one type T.
#include "../cuda/device.h"

namespace slayer::cuda {

// 0 and 1, not NaN, where exp overflows or vanishes.
__device__ __forceinline__ float sigmoid(float x) { return reciprocal(1 + expf(-x)); }

template <class T>
__device__ __forceinline__ void swiglu(const Pointwise& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float g[N], u[N];
      load<N>(g, static_cast<const T*>(args.a) + i);
      load<N>(u, static_cast<const T*>(args.b) + i);
#pragma unroll
      for (int j = 0; j < N; j++) g[j] *= sigmoid(g[j]) * u[j];
      store<N>(static_cast<T*>(args.y) + i, g);
    });
  });
}

template <class T>
__device__ __forceinline__ void swiglu_backward(const Pointwise& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float dy[N], g[N], u[N];
      load<N>(dy, static_cast<const T*>(args.a) + i);
      load<N>(g, static_cast<const T*>(args.b) + i);
      load<N>(u, static_cast<const T*>(args.c) + i);
#pragma unroll
      for (int j = 0; j < N; j++) {
        const float s = sigmoid(g[j]);
        const float dg = dy[j] * u[j] * s * (1 + g[j] * (1 - s));
        u[j] = dy[j] * g[j] * s;
        g[j] = dg;
      }
      store<N>(static_cast<T*>(args.y) + i, g);
      store<N>(static_cast<T*>(args.z) + i, u);
    });
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(swiglu_f32, Pointwise, 256) { swiglu<float>(args); }
SLAYER_KERNEL(swiglu_bf16, Pointwise, 256) { swiglu<bf16>(args); }
SLAYER_KERNEL(swiglu_backward_f32, Pointwise, 256) { swiglu_backward<float>(args); }
SLAYER_KERNEL(swiglu_backward_bf16, Pointwise, 256) { swiglu_backward<bf16>(args); }
