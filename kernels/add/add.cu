// y = a + b. All [n], of one type T. One pass; a thread moves 8 elements at a time where they are aligned.
#include "../cuda/device.h"

namespace slayer::cuda {

template <class T>
__device__ __forceinline__ void add(const Pointwise& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    for_each<N>(args.n, [&](int64_t i) {
      float a[N], b[N];
      load<N>(a, static_cast<const T*>(args.a) + i);
      load<N>(b, static_cast<const T*>(args.b) + i);
#pragma unroll
      for (int j = 0; j < N; j++) a[j] += b[j];
      store<N>(static_cast<T*>(args.y) + i, a);
    });
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(add_f32, Pointwise, 256) { add<float>(args); }
SLAYER_KERNEL(add_bf16, Pointwise, 256) { add<bf16>(args); }
