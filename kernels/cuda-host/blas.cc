// NVIDIA's cuBLASLt for tests: those entry points that packages/backend-cuda/native/blas.cc names, on the streams of the driver beside
// it. Matrices lie column by column, as in the library. It says no (CUBLAS_STATUS_INVALID_VALUE) to what does not fit together. With
// "wrong_products" in SLAYER_HOST_DRIVER it makes them so.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "streams.h"

#define SLAYER_API extern "C" __attribute__((visibility("default"))) int

namespace {

using slayer::host::Stream;

constexpr int kInvalid = 7, kF32 = 0, kBf16 = 14, kCompute32F = 68;

struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t ld;
};
struct Operation {
  int32_t transposed[2];
};

float load(const void* data, int type, int64_t i) {
  if (type == kF32) return static_cast<const float*>(data)[i];
  const uint32_t bits = uint32_t{static_cast<const uint16_t*>(data)[i]} << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
void store(void* data, int type, int64_t i, float x) {
  if (type == kF32) {
    static_cast<float*>(data)[i] = x;
    return;
  }
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Rows and columns of op(X).
uint64_t rows(const Layout& x, bool transposed) { return transposed ? x.columns : x.rows; }
uint64_t columns(const Layout& x, bool transposed) { return transposed ? x.rows : x.columns; }

bool fits(const Operation& op, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const bool types = a.type == kBf16 && b.type == kBf16 && c.type == d.type && (d.type == kBf16 || d.type == kF32);
  return types && rows(a, op.transposed[0]) == d.rows && columns(b, op.transposed[1]) == d.columns &&
         columns(a, op.transposed[0]) == rows(b, op.transposed[1]) && c.rows == d.rows && c.columns == d.columns;
}

}  // namespace

SLAYER_API cublasLtCreate(int** handle) { return *handle = new int, 0; }
SLAYER_API cublasLtMatmulDescCreate(Operation** op, int compute, int scale) {
  *op = new Operation{};
  return compute == kCompute32F && scale == kF32 ? 0 : kInvalid;
}
SLAYER_API cublasLtMatmulDescSetAttribute(Operation* op, int attribute, const void* value, size_t bytes) {
  if (bytes != 4 || (attribute != 3 && attribute != 4)) return kInvalid;
  std::memcpy(&op->transposed[attribute - 3], value, bytes);
  return 0;
}
SLAYER_API cublasLtMatmulDescDestroy(Operation* op) { return delete op, 0; }
SLAYER_API cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  *layout = new Layout{type, rows, columns, ld};
  return ld >= static_cast<int64_t>(rows) ? 0 : kInvalid;
}
SLAYER_API cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, 0; }
SLAYER_API cublasLtMatmulPreferenceCreate(uint64_t** preference) { return *preference = new uint64_t{}, 0; }
SLAYER_API cublasLtMatmulPreferenceSetAttribute(uint64_t* preference, int attribute, const void* value, size_t bytes) {
  if (bytes != 8 || attribute != 1) return kInvalid;
  std::memcpy(preference, value, bytes);
  return 0;
}
SLAYER_API cublasLtMatmulPreferenceDestroy(uint64_t* preference) { return delete preference, 0; }

struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
SLAYER_API cublasLtMatmulAlgoGetHeuristic(int*, Operation* op, Layout* a, Layout* b, Layout* c, Layout* d, uint64_t*, int wanted,
                                          Heuristic* results, int* found) {
  if (wanted < 1 || !fits(*op, *a, *b, *c, *d)) return kInvalid;
  results[0] = {};
  return *found = 1, 0;
}
SLAYER_API cublasLtMatmul(int*, const Operation* op, const float* alpha, const void* a, const Layout* a_layout, const void* b,
                          const Layout* b_layout, const float* beta, const void* c, const Layout* c_layout, void* d,
                          const Layout* d_layout, const uint64_t*, void*, size_t, Stream* stream) {
  if (!fits(*op, *a_layout, *b_layout, *c_layout, *d_layout)) return kInvalid;
  // As the driver's launches, it takes what it is told by value now.
  const char* const machine = std::getenv("SLAYER_HOST_DRIVER");
  const double error = machine != nullptr && std::strstr(machine, "wrong_products") != nullptr ? 1 : 0;
  const auto work = [=, op = *op, la = *a_layout, lb = *b_layout, lc = *c_layout, ld = *d_layout, alpha = *alpha, beta = *beta] {
    const uint64_t inner = columns(la, op.transposed[0]);
    for (uint64_t j = 0; j < ld.columns; j++) {
      for (uint64_t i = 0; i < ld.rows; i++) {
        double sum = error;
        for (uint64_t p = 0; p < inner; p++) {
          const int64_t at_a = static_cast<int64_t>(op.transposed[0] ? p + i * la.ld : i + p * la.ld);
          const int64_t at_b = static_cast<int64_t>(op.transposed[1] ? j + p * lb.ld : p + j * lb.ld);
          sum += static_cast<double>(load(a, la.type, at_a)) * load(b, lb.type, at_b);
        }
        const int64_t at = static_cast<int64_t>(i + j * ld.ld);
        const float before = beta == 0 ? 0.0f : beta * load(c, lc.type, static_cast<int64_t>(i + j * lc.ld));
        store(d, ld.type, at, static_cast<float>(alpha * sum) + before);
      }
    }
  };
  slayer::host::push(stream, work);
  return 0;
}
