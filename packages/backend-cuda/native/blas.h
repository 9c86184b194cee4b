// Matrix products by NVIDIA's cuBLASLt, where it is installed: one more variant to choose from, never needed. Types and values as in NVIDIA's
// cublasLt.h; the library is loaded when somebody asks for it.
#pragma once

#include <cstdint>
#include <string>

#include "driver.h"

namespace slayer::cuda {

// Name of such a "kernel" among a plan's launches.
constexpr const char* kLibraryProduct = "cublasLt";
constexpr int64_t kLibraryWorkspace = int64_t{32} << 20;

// C [m, n] = op(A)·op(B) (+ addend), row-major, A and B bf16, C bf16 or f32; sums in f32.
struct LibraryProduct {
  const void* a;
  const void* b;
  const void* addend;  // or null
  void* c;
  void* workspace;  // of kLibraryWorkspace bytes
  int32_t m, n, k;
  bool transpose_a, transpose_b, f32;
};

// Whether the library is there; the first call loads it. SLAYER_CUBLASLT names another file; empty, there is none.
bool has_blas();

// Puts the product on the stream, in the current context. Throws a DeviceError with the library's status.
void multiply_with_blas(const LibraryProduct& product, CUstream stream);

}  // namespace slayer::cuda
