// Rotary position embedding (Su et al. 2021), half-split layout: in each head the pair (x_i, x_{i+half}) is rotated by the angle
// position·frequency_i, or by its negative. x, y [tokens, width] of type T. A thread takes the same pairs of kRopeHeads heads, so that it
// computes their angles once, while the elements are on their way.
#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kRopeHeads = 4;

template <class T, int Heads = kRopeHeads>
__device__ __forceinline__ void rope(const Rope& args) {
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const int half = args.half;
    const int packs = half / N;
    const int heads = args.width / (2 * half);
    const int groups = (heads + Heads - 1) / Heads;
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int pair = i % packs * N;
    const int head = i / packs % groups * Heads;
    const int token = i / packs / groups;
    if (token >= args.tokens) return;
    const int64_t at = static_cast<int64_t>(token) * args.width + head * 2 * half + pair;
    Pack<T, N> a[Heads], b[Heads];
#pragma unroll
    for (int h = 0; h < Heads; h++) {
      if (head + h >= heads) continue;
      const T* const x = static_cast<const T*>(args.x) + at + h * 2 * half;
      a[h] = load_pack<T, N>(x);
      b[h] = load_pack<T, N>(x + half);
    }
    const float position = static_cast<float>(args.positions[token]);
    float c[N], s[N];
#pragma unroll
    for (int k = 0; k < N; k++) {
      sincosf(position * args.frequencies[pair + k], &s[k], &c[k]);
      s[k] *= args.sign;
    }
#pragma unroll
    for (int h = 0; h < Heads; h++) {
      if (head + h >= heads) continue;
      float y[N], z[N];
#pragma unroll
      for (int k = 0; k < N; k++) {
        y[k] = to_float(a[h].v[k]) * c[k] - to_float(b[h].v[k]) * s[k];
        z[k] = to_float(b[h].v[k]) * c[k] + to_float(a[h].v[k]) * s[k];
      }
      T* const to = static_cast<T*>(args.y) + at + h * 2 * half;
      store<N>(to, y);
      store<N>(to + half, z);
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(rope_f32, Rope, 256) { rope<float>(args); }
SLAYER_KERNEL(rope_bf16, Rope, 256) { rope<bf16>(args); }
