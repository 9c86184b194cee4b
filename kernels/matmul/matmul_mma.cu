// C [m, n] = op(A)·op(B) on the tensor cores: A and B bf16, sums in f32, C bf16 or f32, with or without an addend. The name says which operand
// lies transposed, as in BLAS: nt is a linear layer's forward pass, nn its gradient to the input, tn to the weight.
//
// A block of 8 warps makes a tile of 128 × 128, a warp 64 × 32 of it: 4 × 4 fragments of mma.m16n8k16; or, for those named wide, 128 × 256
// and 64 × 64: per product fewer bytes from shared memory (4 KiB per 64 × 64 × 16, not 3 KiB per 64 × 32 × 16), which is what bounds the
// narrow ones. Tiles of 64 steps of k pass through three stages of shared memory: while one is multiplied, two are on their way (cp.async). An operand lies in shared memory as
// it lies in global memory, and is transposed, where it must be, by ldmatrix. Needs k, m of a transposed A and n of a B that is not, to
// be multiples of 8, and 16-byte alignment. Tiles are taken in bands of 8 rows of tiles, so that neighbours in time share operands in L2.
#include "mma_tiles.h"

namespace slayer::cuda {

template <int Columns, bool TransposeA, bool TransposeB, class C>
__device__ __forceinline__ void matmul_mma(const Gemm& args) {
  const auto [first_row, first_column] = tile_place(args.m, args.n, kMmaRows, Columns, static_cast<int>(blockIdx.x));
  const MmaOperand<kMmaRows, TransposeA> a{static_cast<const bf16*>(args.a), args.m, args.k, first_row};
  // B is op(B)ᵀ [n, k] here: stored so if it lies transposed.
  const MmaOperand<Columns, !TransposeB> b{static_cast<const bf16*>(args.b), args.n, args.k, first_column};
  WarpTile<Columns> warp;
  warp.template multiply<TransposeA, TransposeB>(a, b, args.k);

  store_tile<C>(args, warp, first_row, first_column);
}

}  // namespace slayer::cuda

using namespace slayer::cuda;

SLAYER_KERNEL(matmul_mma_nn_bf16, Gemm, 256) { matmul_mma<128, false, false, bf16>(args); }
SLAYER_KERNEL(matmul_mma_nt_bf16, Gemm, 256) { matmul_mma<128, false, true, bf16>(args); }
SLAYER_KERNEL(matmul_mma_tn_bf16, Gemm, 256) { matmul_mma<128, true, false, bf16>(args); }
SLAYER_KERNEL(matmul_mma_tt_bf16, Gemm, 256) { matmul_mma<128, true, true, bf16>(args); }
SLAYER_KERNEL(matmul_mma_nn_f32, Gemm, 256) { matmul_mma<128, false, false, float>(args); }
SLAYER_KERNEL(matmul_mma_nt_f32, Gemm, 256) { matmul_mma<128, false, true, float>(args); }
SLAYER_KERNEL(matmul_mma_tn_f32, Gemm, 256) { matmul_mma<128, true, false, float>(args); }
SLAYER_KERNEL(matmul_mma_tt_f32, Gemm, 256) { matmul_mma<128, true, true, float>(args); }
SLAYER_KERNEL(matmul_mma_wide_nn_bf16, Gemm, 256) { matmul_mma<256, false, false, bf16>(args); }
SLAYER_KERNEL(matmul_mma_wide_nt_bf16, Gemm, 256) { matmul_mma<256, false, true, bf16>(args); }
SLAYER_KERNEL(matmul_mma_wide_tn_bf16, Gemm, 256) { matmul_mma<256, true, false, bf16>(args); }
SLAYER_KERNEL(matmul_mma_wide_tt_bf16, Gemm, 256) { matmul_mma<256, true, true, bf16>(args); }
SLAYER_KERNEL(matmul_mma_wide_nn_f32, Gemm, 256) { matmul_mma<256, false, false, float>(args); }
SLAYER_KERNEL(matmul_mma_wide_nt_f32, Gemm, 256) { matmul_mma<256, false, true, float>(args); }
SLAYER_KERNEL(matmul_mma_wide_tn_f32, Gemm, 256) { matmul_mma<256, true, false, float>(args); }
SLAYER_KERNEL(matmul_mma_wide_tt_f32, Gemm, 256) { matmul_mma<256, true, true, float>(args); }
