// delta_i = do_i·o_i, as attention_simt.cu's attention_delta, for bf16 and heads of 64 or 128: 16 bytes at a time. Reading is all that
// it costs. E/8 lanes share a row, a thread takes part in 4; grid (tiles of queries, H, B).
#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kDeltaThreads = 256;
constexpr int kDeltaRows = 4;

template <int E>
__device__ __forceinline__ void attention_delta_wide(const Attention& args) {
  constexpr int kRowLanes = E / 8;
  constexpr int kAtOnce = kDeltaThreads / kRowLanes;
  const int h = static_cast<int>(blockIdx.y);
  const int b = static_cast<int>(blockIdx.z);
  const int row = static_cast<int>(blockIdx.x) * kAtOnce * kDeltaRows + static_cast<int>(threadIdx.x) / kRowLanes;
  const int column = static_cast<int>(threadIdx.x) % kRowLanes * 8;
  float dout[kDeltaRows][8], o[kDeltaRows][8];
#pragma unroll
  for (int i = 0; i < kDeltaRows; i++) {
    const int query = min(row + i * kAtOnce, args.T - 1);
    const int64_t at = ((static_cast<int64_t>(b) * args.T + query) * args.H + h) * E + column;
    load(dout[i], static_cast<const bf16*>(args.dout) + at);
    load(o[i], static_cast<const bf16*>(args.o) + at);
  }
#pragma unroll
  for (int i = 0; i < kDeltaRows; i++) {
    float sum = 0;
#pragma unroll
    for (int e = 0; e < 8; e++) sum += dout[i][e] * o[i][e];
#pragma unroll
    for (unsigned mask = kRowLanes / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    const int query = row + i * kAtOnce;
    if (column == 0 && query < args.T) args.delta[(static_cast<int64_t>(b) * args.H + h) * args.T + query] = sum;
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(attention_delta_wide_64, Attention, 256) { attention_delta_wide<64>(args); }
SLAYER_KERNEL(attention_delta_wide_128, Attention, 256) { attention_delta_wide<128>(args); }
