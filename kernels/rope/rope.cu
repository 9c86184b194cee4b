// Rotary position embedding (Su et al. 2021), half-split layout: in each head the pair (x_i, x_{i+half}) is rotated by the angle
// position·frequency_i, or by its negative. x, y [tokens, width] of type T. A thread per token and pair computes the angle once and
// rotates that pair in every head; neighbouring threads take neighbouring pairs.
#include "../cuda/device.h"

namespace slayer::cuda {

template <class T>
__device__ __forceinline__ void rope(const Rope& args) {
  for_each<1>(args.tokens * args.half, [&](int64_t i) {
    const int64_t token = i / args.half;
    const int pair = static_cast<int>(i % args.half);
    const float angle = static_cast<float>(args.positions[token]) * args.frequencies[pair];
    const float c = cosf(angle);
    const float s = args.sign * sinf(angle);
    const int64_t row = token * args.width + pair;
    for (int head = 0; head < args.width; head += 2 * args.half) {
      const float a = to_float(static_cast<const T*>(args.x)[row + head]);
      const float b = to_float(static_cast<const T*>(args.x)[row + head + args.half]);
      static_cast<T*>(args.y)[row + head] = from_float<T>(a * c - b * s);
      static_cast<T*>(args.y)[row + head + args.half] = from_float<T>(b * c + a * s);
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(rope_f32, Rope, 256) { rope<float>(args); }
SLAYER_KERNEL(rope_bf16, Rope, 256) { rope<bf16>(args); }
