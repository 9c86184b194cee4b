// Rotary position embedding (Su et al. 2021), half-split layout: in each head the pair (x_i, x_{i+half}) is rotated by the angle
// position·frequency_i, or by its negative. x, y [tokens, width] of type T. A block takes a few tokens: it computes their angles once,
// and then rotates all their heads.
#include "../cuda/device.h"

namespace slayer::cuda {

template <class T, int Wide = 8>
__device__ __forceinline__ void rope(const Rope& args) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * args.tokens_per_block;
  const int tokens = static_cast<int>(min(args.tokens - first, static_cast<int64_t>(args.tokens_per_block)));
  const int half = args.half;
  const Shared<float> cosines = shared<float>(0);
  const Shared<float> sines = cosines + args.tokens_per_block * half;
  const int threads = static_cast<int>(blockDim.x);
  for (int i = static_cast<int>(threadIdx.x); i < tokens * half; i += threads) {
    const float angle = static_cast<float>(args.positions[first + i / half]) * args.frequencies[i % half];
    cosines[i] = cosf(angle);
    sines[i] = args.sign * sinf(angle);
  }
  __syncthreads();
  with_width<Wide>(args.wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    const int packs = half / N;               // of half a head
    const int row = args.width / (2 * N);     // of a token's first halves
    for (int i = static_cast<int>(threadIdx.x); i < tokens * row; i += threads) {
      const int token = i / row;
      const int head = i % row / packs;
      const int pair = i % row % packs * N;
      const int64_t at = (first + token) * args.width + head * 2 * half + pair;
      const T* const x = static_cast<const T*>(args.x) + at;
      T* const y = static_cast<T*>(args.y) + at;
      float a[N], b[N], rotated[N];
      load<N>(a, x);
      load<N>(b, x + half);
      const Shared<float> c = cosines + (token * half + pair);
      const Shared<float> s = sines + (token * half + pair);
#pragma unroll
      for (int k = 0; k < N; k++) {
        rotated[k] = a[k] * c[k] - b[k] * s[k];
        b[k] = b[k] * c[k] + a[k] * s[k];
      }
      store<N>(y, rotated);
      store<N>(y + half, b);
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(rope_f32, Rope, 256) { rope<float>(args); }
SLAYER_KERNEL(rope_bf16, Rope, 256) { rope<bf16>(args); }
