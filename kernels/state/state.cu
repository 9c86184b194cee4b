// accumulate: y += x (y of type T, x of type X); copy: y = x, converted; cache_write: rows x [B, T, D] into cache [B, S, D] at row
// `offset`, which lies in device memory so that nothing is rebuilt from step to step. clear is fill with 0.
#include "../cuda/device.h"

namespace slayer::cuda {

template <class T, class X>
__device__ __forceinline__ void accumulate(const Pointwise& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float y[N], x[N];
      load<N>(y, static_cast<const T*>(args.y) + i);
      load<N>(x, static_cast<const X*>(args.a) + i);
#pragma unroll
      for (int j = 0; j < N; j++) y[j] += x[j];
      store<N>(static_cast<T*>(args.y) + i, y);
    });
  });
}

template <class T, class X>
__device__ __forceinline__ void copy(const Pointwise& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float x[N];
      load<N>(x, static_cast<const X*>(args.a) + i);
      store<N>(static_cast<T*>(args.y) + i, x);
    });
  });
}

template <class T>
__device__ __forceinline__ void cache_write(const CacheWrite& args) {
  const int offset = *args.offset;
  if (offset < 0 || offset + args.T > args.S) {
    if (blockIdx.x == 0 && threadIdx.x == 0) report(args.fault, args.step, 0, offset);
    return;
  }
  const int64_t per_batch = args.T * args.columns;
  for_each<1>(args.n, [&](int64_t i) {
    const int64_t at = (i / per_batch * args.S + offset) * args.columns + i % per_batch;
    static_cast<T*>(args.cache)[at] = static_cast<const T*>(args.x)[i];
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(accumulate_f32_f32, Pointwise, 256) { accumulate<float, float>(args); }
SLAYER_KERNEL(accumulate_f32_bf16, Pointwise, 256) { accumulate<float, bf16>(args); }
SLAYER_KERNEL(accumulate_bf16_f32, Pointwise, 256) { accumulate<bf16, float>(args); }
SLAYER_KERNEL(accumulate_bf16_bf16, Pointwise, 256) { accumulate<bf16, bf16>(args); }
SLAYER_KERNEL(copy_f32_f32, Pointwise, 256) { copy<float, float>(args); }
SLAYER_KERNEL(copy_f32_bf16, Pointwise, 256) { copy<float, bf16>(args); }
SLAYER_KERNEL(copy_bf16_f32, Pointwise, 256) { copy<bf16, float>(args); }
SLAYER_KERNEL(copy_bf16_bf16, Pointwise, 256) { copy<bf16, bf16>(args); }
SLAYER_KERNEL(cache_write_f32, CacheWrite, 256) { cache_write<float>(args); }
SLAYER_KERNEL(cache_write_bf16, CacheWrite, 256) { cache_write<bf16>(args); }
