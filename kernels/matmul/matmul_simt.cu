// C [m, n] = op(A)·op(B), f32 multiply-adds on the ordinary cores: for f32 operands, for operands of two types, and for shapes that the
// tensor cores' kernel (matmul_mma.cu) does not take. The name says which operand lies transposed, and the types of A, B and C.
//
// A block of 256 threads makes a tile of 128 × 128, a thread 8 × 8 of it (four quads of 4 × 4, so that each reads 16 bytes at a time). 8 steps
// of k pass through two stages of shared memory: the next ones are on their way in registers meanwhile. 128 registers to a thread let two
// blocks share a multiprocessor: one multiplies while the other waits. Those named small, for products with few tiles: 128 threads make a
// tile of 64 × 64, a thread 8 × 4. Both need rows, as they lie in memory, of multiples of 4 elements, and 16-byte alignment; those
// named any are small ones that need neither.
#include "simt_tiles.h"

namespace slayer::cuda {

using SimtLarge = SimtShape<2, 2, 4, 2>;
using SimtSmall = SimtShape<2, 1, 2, 2>;

// The products of the stage at `at`, 0 or 1, and the way of the next into the other; with `left` 0 there is none, and the stage's last step
// is left to do.
template <class Shape, class A, class B>
__device__ __forceinline__ bool multiply_stage(SimtThread<Shape>& thread, A& a, B& b, int at, int& left) {
  const Shared<float> now = shared<float>(0) + at * kSimtStage<Shape>;
  const Shared<float> next = shared<float>(0) + (1 - at) * kSimtStage<Shape>;
  if (left > 0) {
    a.fetch();
    b.fetch();
  }
#pragma unroll
  for (int k = 0; k < kSimtSteps - 1; k++) {
    thread.read((k + 1) % 2, now, k + 1);
    thread.multiply(k % 2);
  }
  if (left-- == 0) return false;
  a.put(next);
  b.put(next + kSimtTileA<Shape>);
  __syncthreads();
  thread.read(0, next, 0);
  thread.multiply(1);
  return true;
}

template <class Shape, SimtLayout LayoutA, SimtLayout LayoutB, class A, class B, class C>
__device__ __forceinline__ void matmul_simt(const Gemm& args) {
  const TilePlace place = tile_place(args.m, args.n, Shape::kRows, Shape::kColumns, static_cast<int>(blockIdx.x));
  SimtOperand<A, Shape::kRows, Shape::kThreads, LayoutA> a(args.a, args.a_row, args.a_step, place.row, args.m);
  SimtOperand<B, Shape::kColumns, Shape::kThreads, LayoutB> b(args.b, args.b_row, args.b_step, place.column, args.n);
  SimtThread<Shape> thread;

  const int first = (args.k - 1) % kSimtSteps + 1;
  a.fetch_first(first);
  b.fetch_first(first);
  a.put(shared<float>(0));
  b.put(shared<float>(0) + kSimtTileA<Shape>);
  __syncthreads();
  thread.read(0, shared<float>(0), 0);
  int left = (args.k - first) / kSimtSteps;
  while (multiply_stage(thread, a, b, 0, left) && multiply_stage(thread, a, b, 1, left)) {
  }
  thread.multiply(1);
  const bool whole = args.wide && place.row + Shape::kRows <= args.m && place.column + Shape::kColumns <= args.n;
  if (whole) store_sums<C, true>(args, thread, place);
  else store_sums<C, false>(args, thread, place);
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

#define SLAYER_SIMT(name, threads, blocks, Shape, A, B, types, ...) \
  SLAYER_SHARING_KERNEL(matmul_simt_##name##_##types, Gemm, threads, blocks) { matmul_simt<Shape, SimtLayout::A, SimtLayout::B, __VA_ARGS__>(args); }
#define SLAYER_SIMT_LAYOUTS(types, ...)                                                        \
  SLAYER_SIMT(nn, 256, 2, SimtLarge, kAlongK, kAlongRows, types, __VA_ARGS__)                  \
  SLAYER_SIMT(nt, 256, 2, SimtLarge, kAlongK, kAlongK, types, __VA_ARGS__)                     \
  SLAYER_SIMT(tn, 256, 2, SimtLarge, kAlongRows, kAlongRows, types, __VA_ARGS__)               \
  SLAYER_SIMT(tt, 256, 2, SimtLarge, kAlongRows, kAlongK, types, __VA_ARGS__)                  \
  SLAYER_SIMT(small_nn, 128, 4, SimtSmall, kAlongK, kAlongRows, types, __VA_ARGS__)            \
  SLAYER_SIMT(small_nt, 128, 4, SimtSmall, kAlongK, kAlongK, types, __VA_ARGS__)               \
  SLAYER_SIMT(small_tn, 128, 4, SimtSmall, kAlongRows, kAlongRows, types, __VA_ARGS__)         \
  SLAYER_SIMT(small_tt, 128, 4, SimtSmall, kAlongRows, kAlongK, types, __VA_ARGS__)            \
  SLAYER_SIMT(any, 128, 4, SimtSmall, kAny, kAny, types, __VA_ARGS__)
SLAYER_SIMT_LAYOUTS(f32_f32_f32, float, float, float)
SLAYER_SIMT_LAYOUTS(f32_bf16_f32, float, bf16, float)
SLAYER_SIMT_LAYOUTS(bf16_f32_f32, bf16, float, float)
SLAYER_SIMT_LAYOUTS(bf16_f32_bf16, bf16, float, bf16)
SLAYER_SIMT(any, 128, 4, SimtSmall, kAny, kAny, bf16_bf16_f32, bf16, bf16, float)
SLAYER_SIMT(any, 128, 4, SimtSmall, kAny, kAny, bf16_bf16_bf16, bf16, bf16, bf16)
