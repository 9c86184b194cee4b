// C [m, n] = op(A)·op(B), f32 multiply-adds on the ordinary cores: for f32 operands, for operands of two types, and for shapes that
// the tensor cores' kernel (matmul_mma.cu) does not take. Types A, B, C are part of the name.
//
// A block of 256 threads makes a tile of 128 × 128, a thread 8 × 8 of it (four quarters of 4 × 4, so that each reads 16 bytes at a
// time). Tiles of 8 steps of k pass through two stages of shared memory: the next one is on its way in registers meanwhile.
#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kSimtTile = 128;
constexpr int kSimtSteps = 8;
constexpr int kSimtPitch = kSimtTile + 4;  // keeps rows aligned to 16 bytes and off each other's banks
constexpr int kSimtStage = kSimtSteps * kSimtPitch;
constexpr int kSimtThreads = 256;
constexpr int kSimtLoads = kSimtTile * kSimtSteps / kSimtThreads;

// One operand's tile on its way: elements (i, k) with i = first + 0 … 127, k = step + 0 … 7, zeros beyond `rows` and `steps`.
template <class T>
struct SimtOperand {
  const T* data;
  int64_t row, step;  // strides; one of them is 1, and neighbouring threads go along it
  int first, rows, steps;
  float values[kSimtLoads];

  __device__ __forceinline__ static void place(int load, bool along_k, int& i, int& k) {
    const int index = static_cast<int>(threadIdx.x) + load * kSimtThreads;
    i = along_k ? index / kSimtSteps : index % kSimtTile;
    k = along_k ? index % kSimtSteps : index / kSimtTile;
  }
  __device__ __forceinline__ void fetch(int from) {
#pragma unroll
    for (int load = 0; load < kSimtLoads; load++) {
      int i, k;
      place(load, step == 1, i, k);
      const bool inside = first + i < rows && from + k < steps;
      values[load] = inside ? to_float(data[(first + i) * row + (from + k) * step]) : 0.0f;
    }
  }
  __device__ __forceinline__ void put(Shared<float> tile) {
#pragma unroll
    for (int load = 0; load < kSimtLoads; load++) {
      int i, k;
      place(load, step == 1, i, k);
      tile[k * kSimtPitch + i] = values[load];
    }
  }
};

template <class A, class B, class C>
__device__ __forceinline__ void matmul_simt(const Gemm& args) {
  const int first_row = static_cast<int>(blockIdx.y) * kSimtTile;
  const int first_column = static_cast<int>(blockIdx.x) * kSimtTile;
  SimtOperand<A> a{static_cast<const A*>(args.a), args.a_row, args.a_step, first_row, args.m, args.k, {}};
  SimtOperand<B> b{static_cast<const B*>(args.b), args.b_row, args.b_step, first_column, args.n, args.k, {}};
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  float sums[8][8] = {};

  a.fetch(0);
  b.fetch(0);
  for (int from = 0, stage = 0; from < args.k; from += kSimtSteps, stage ^= 1) {
    const Shared<float> tile_a = shared<float>(0) + 2 * stage * kSimtStage;
    const Shared<float> tile_b = tile_a + kSimtStage;
    a.put(tile_a);
    b.put(tile_b);
    __syncthreads();
    if (from + kSimtSteps < args.k) {
      a.fetch(from + kSimtSteps);
      b.fetch(from + kSimtSteps);
    }
#pragma unroll
    for (int k = 0; k < kSimtSteps; k++) {
      const Pack<float, 4> low_a = load_four(tile_a + (k * kSimtPitch + 4 * ty));
      const Pack<float, 4> high_a = load_four(tile_a + (k * kSimtPitch + 64 + 4 * ty));
      const Pack<float, 4> low_b = load_four(tile_b + (k * kSimtPitch + 4 * tx));
      const Pack<float, 4> high_b = load_four(tile_b + (k * kSimtPitch + 64 + 4 * tx));
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const float x = i < 4 ? low_a.v[i % 4] : high_a.v[i % 4];
#pragma unroll
        for (int j = 0; j < 8; j++) sums[i][j] += x * (j < 4 ? low_b.v[j % 4] : high_b.v[j % 4]);
      }
    }
  }

  C* const c = static_cast<C*>(args.c);
  const C* const addend = static_cast<const C*>(args.addend);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int row = first_row + (i / 4) * 64 + 4 * ty + i % 4;
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const int column = first_column + (j / 4) * 64 + 4 * tx + j % 4;
      if (row >= args.m || column >= args.n) continue;
      const int64_t at = static_cast<int64_t>(row) * args.n + column;
      c[at] = from_float<C>(addend != nullptr ? to_float(addend[at]) + sums[i][j] : sums[i][j]);
    }
  }
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(matmul_simt_f32_f32_f32, Gemm, 256) { matmul_simt<float, float, float>(args); }
SLAYER_KERNEL(matmul_simt_f32_bf16_f32, Gemm, 256) { matmul_simt<float, bf16, float>(args); }
SLAYER_KERNEL(matmul_simt_bf16_f32_f32, Gemm, 256) { matmul_simt<bf16, float, float>(args); }
SLAYER_KERNEL(matmul_simt_bf16_f32_bf16, Gemm, 256) { matmul_simt<bf16, float, bf16>(args); }
SLAYER_KERNEL(matmul_simt_bf16_bf16_f32, Gemm, 256) { matmul_simt<bf16, bf16, float>(args); }
SLAYER_KERNEL(matmul_simt_bf16_bf16_bf16, Gemm, 256) { matmul_simt<bf16, bf16, bf16>(args); }
