// Rotary position embedding (Su et al. 2021), half-split layout: in each head the pair (x_i, x_{i+half}) is rotated by the angle
// position·frequency_i, or by its negative. x, y [tokens, width] of type T.
//
// Blocks of (packs of pairs, heads, tokens): the threads of a token compute its angles once, while the first elements are on their
// way, and then rotate all its heads.
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

// Heads whose elements a thread has on their way at once.
constexpr int kRopeHeads = 2;

template <class T, int Heads = kRopeHeads>
__device__ __forceinline__ void rope(const Rope& args) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * blockDim.z + threadIdx.z;
  const bool live = token < args.tokens;
  const int half = args.half;
  const int heads = args.width / (2 * half);
  const int step = static_cast<int>(blockDim.y);
  const Shared<float> cosines = shared<float>(0) + static_cast<int>(threadIdx.z) * 2 * half;
  const Shared<float> sines = cosines + half;
  with_width<kPack<T>>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const int pair = static_cast<int>(threadIdx.x) * N;
    int head = static_cast<int>(threadIdx.y);
    Pack<T, N> a[Heads], b[Heads];
    const auto at = [&](int h) { return token * args.width + (head + h * step) * 2 * half + pair; };
    const auto fetch = [&] {
#pragma unroll
      for (int h = 0; h < Heads; h++) {
        if (!live || head + h * step >= heads) continue;
        a[h] = load_pack<T, N>(static_cast<const T*>(args.x) + at(h));
        b[h] = load_pack<T, N>(static_cast<const T*>(args.x) + at(h) + half);
      }
    };
    fetch();
    for (int i = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); live && i < half; i += step * static_cast<int>(blockDim.x)) {
      float s, c;
      sincosf(static_cast<float>(args.positions[token]) * args.frequencies[i], &s, &c);
      cosines[i] = c;
      sines[i] = args.sign * s;
    }
    __syncthreads();
    if (!live) return;
    float c[N], s[N];
    load_shared<N>(c, cosines + pair);
    load_shared<N>(s, sines + pair);
    while (head < heads) {
#pragma unroll
      for (int h = 0; h < Heads; h++) {
        if (head + h * step >= heads) continue;
        float y[N], z[N];
#pragma unroll
        for (int k = 0; k < N; k++) {
          y[k] = to_float(a[h].v[k]) * c[k] - to_float(b[h].v[k]) * s[k];
          z[k] = to_float(b[h].v[k]) * c[k] + to_float(a[h].v[k]) * s[k];
        }
        store<N>(static_cast<T*>(args.y) + at(h), y);
        store<N>(static_cast<T*>(args.y) + at(h) + half, z);
      }
      head += Heads * step;
      fetch();
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(rope_f32, Rope, 128) { rope<float>(args); }
SLAYER_KERNEL(rope_bf16, Rope, 128) { rope<bf16>(args); }
