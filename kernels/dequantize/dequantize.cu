// dequantize: y [rows, columns] (type T) = scale · value of the code; codes [rows, words] i32, scales [rows, groups] f32, one per 64
// values of a row. Values of 8 bits are signed integers, those of 4 bits levels of nf4. A thread per word, 4 or 8 values; bound by
// what is written.
#include "../cuda/device.h"
#include "nf4.h"

namespace slayer::cuda {

template <class T, int Bits>
__device__ __forceinline__ void dequantize(const Dequantize& args) {
  constexpr int kPerWord = 32 / Bits;
  constexpr float kLevels[16] = SLAYER_NF4_LEVELS;
  for_each<1>(args.n, [&](int64_t i) {
    const int64_t row = i / args.words;
    const int64_t first = i % args.words * kPerWord;
    const auto word = static_cast<uint32_t>(args.codes[i]);
    const float scale = args.scales[row * args.groups + first / 64];
    T* const to = static_cast<T*>(args.y) + row * args.columns + first;
#pragma unroll
    for (int j = 0; j < kPerWord; j++) {
      if (first + j >= args.columns) break;
      const uint32_t code = word >> (Bits * j);
      const float value = Bits == 8 ? static_cast<float>(static_cast<int8_t>(code & 255)) : kLevels[code & 15];
      to[j] = from_float<T>(scale * value);
    }
  });
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(dequantize4_f32, Dequantize, 256) { dequantize<float, 4>(args); }
SLAYER_KERNEL(dequantize4_bf16, Dequantize, 256) { dequantize<bf16, 4>(args); }
SLAYER_KERNEL(dequantize8_f32, Dequantize, 256) { dequantize<float, 8>(args); }
SLAYER_KERNEL(dequantize8_bf16, Dequantize, 256) { dequantize<bf16, 8>(args); }
