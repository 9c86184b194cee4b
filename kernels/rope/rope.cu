// Rotary position embedding (Su et al. 2021), half-split layout: in each head the pair (x_i, x_{i+half}) is rotated by the angle
// position·frequency_i, or by its negative. x, y [tokens, width] of type T. A block takes a few tokens: its threads compute their angles
// once, while the first elements are on their way, and then rotate all heads.
#include "../cuda/device.h"

namespace slayer::cuda {

// N values of shared memory, N = 1 or a multiple of 4.
template <int N>
__device__ __forceinline__ void load_shared(float (&x)[N], Shared<float> p) {
  if constexpr (N == 1) {
    x[0] = p[0];
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const Pack<float, 4> four = load_four(p + i);
#pragma unroll
      for (int k = 0; k < 4; k++) x[i + k] = four.v[k];
    }
  }
}

template <class T>
__device__ __forceinline__ void rope(const Rope& args) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * args.tokens_per_block;
  const int tokens = static_cast<int>(min(args.tokens - first, static_cast<int64_t>(args.tokens_per_block)));
  const int half = args.half;
  const int threads = static_cast<int>(blockDim.x);
  const Shared<float> cosines = shared<float>(0);
  const Shared<float> sines = cosines + args.tokens_per_block * half;
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const int packs = half / N;            // of half a head
    const int row = args.width / (2 * N);  // of the first halves of a token's heads
    Pack<T, N> a, b;
    int angle, i = static_cast<int>(threadIdx.x);
    int64_t at;
    const auto fetch = [&] {
      const int token = i / row;
      const int head = i % row / packs;
      const int pair = i % row % packs * N;
      angle = token * half + pair;
      at = (first + token) * args.width + head * 2 * half + pair;
      a = load_pack<T, N>(static_cast<const T*>(args.x) + at);
      b = load_pack<T, N>(static_cast<const T*>(args.x) + at + half);
    };
    if (i < tokens * row) fetch();
    for (int j = static_cast<int>(threadIdx.x); j < tokens * half; j += threads) {
      const float radians = static_cast<float>(args.positions[first + j / half]) * args.frequencies[j % half];
      float s, c;
      sincosf(radians, &s, &c);
      cosines[j] = c;
      sines[j] = args.sign * s;
    }
    __syncthreads();
    while (i < tokens * row) {
      float c[N], s[N], y[N], z[N];
      load_shared<N>(c, cosines + angle);
      load_shared<N>(s, sines + angle);
#pragma unroll
      for (int k = 0; k < N; k++) {
        y[k] = to_float(a.v[k]) * c[k] - to_float(b.v[k]) * s[k];
        z[k] = to_float(b.v[k]) * c[k] + to_float(a.v[k]) * s[k];
      }
      store<N>(static_cast<T*>(args.y) + at, y);
      store<N>(static_cast<T*>(args.y) + at + half, z);
      i += threads;
      if (i < tokens * row) fetch();
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(rope_f32, Rope, 128) { rope<float>(args); }
SLAYER_KERNEL(rope_bf16, Rope, 128) { rope<bf16>(args); }
