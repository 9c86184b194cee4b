#include "blas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <initializer_list>
#include <mutex>
#include <utility>

namespace slayer::cuda {

namespace {

using Handle = struct LtContext*;
using Operation = struct LtOperation*;
using Layout = struct LtLayout*;
using Preference = struct LtPreference*;
using Status = int;

constexpr int kCompute32F = 68;             // cublasComputeType_t
constexpr int kF32 = 0, kBf16 = 14;         // cudaDataType
constexpr int kTransA = 3, kTransB = 4;     // cublasLtMatmulDescAttributes_t
constexpr int kMostWorkspace = 1;           // cublasLtMatmulPreferenceAttributes_t

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};

#define SLAYER_BLAS(X)                                                                                                      \
  X(create, "cublasLtCreate", Handle*)                                                                                      \
  X(create_operation, "cublasLtMatmulDescCreate", Operation*, int, int)                                                     \
  X(set_operation, "cublasLtMatmulDescSetAttribute", Operation, int, const void*, size_t)                                   \
  X(destroy_operation, "cublasLtMatmulDescDestroy", Operation)                                                              \
  X(create_layout, "cublasLtMatrixLayoutCreate", Layout*, int, uint64_t, uint64_t, int64_t)                                 \
  X(destroy_layout, "cublasLtMatrixLayoutDestroy", Layout)                                                                  \
  X(create_preference, "cublasLtMatmulPreferenceCreate", Preference*)                                                       \
  X(set_preference, "cublasLtMatmulPreferenceSetAttribute", Preference, int, const void*, size_t)                           \
  X(destroy_preference, "cublasLtMatmulPreferenceDestroy", Preference)                                                      \
  X(choose, "cublasLtMatmulAlgoGetHeuristic", Handle, Operation, Layout, Layout, Layout, Layout, Preference, int, Heuristic*, int*) \
  X(matmul, "cublasLtMatmul", Handle, Operation, const void*, const void*, Layout, const void*, Layout, const void*, const void*,  \
    Layout, void*, Layout, const Algorithm*, void*, size_t, CUstream)

struct Blas {
#define X(name, symbol, ...) Status (*name)(__VA_ARGS__) = nullptr;
  SLAYER_BLAS(X)
#undef X
  Handle handle = nullptr;  // made in the first context that wants it
  std::mutex mutex;
};

Blas* load() {
  const char* const named = std::getenv("SLAYER_CUBLASLT");
  void* library = nullptr;
  for (const char* file : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    if (library == nullptr) library = dlopen(named == nullptr ? file : named, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr || (named != nullptr && *named == '\0')) return nullptr;
  auto* const blas = new Blas;
  bool complete = true;
#define X(name, symbol, ...)                                                       \
  blas->name = reinterpret_cast<Status (*)(__VA_ARGS__)>(dlsym(library, symbol)); \
  complete = complete && blas->name != nullptr;
  SLAYER_BLAS(X)
#undef X
  return complete ? blas : nullptr;
}

// Never unloaded: a process may exit while a thread is in it.
Blas* blas() {
  static Blas* const loaded = load();
  return loaded;
}

// What a call made, given back when the product is on its way.
template <class T>
struct Owned {
  explicit Owned(Status (*give_back)(T)) : destroy(give_back) {}
  ~Owned() {
    if (value != nullptr) destroy(value);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Status (*destroy)(T);
  T value = nullptr;
};

void check(Status status, const char* what) {
  if (status != 0) throw DeviceError("device", std::string("cuBLASLt, ") + what + ": status " + std::to_string(status));
}

}  // namespace

bool has_blas() { return blas() != nullptr; }

// The library takes matrices column by column, so row-major C [m, n] is its [n, m], and Cᵀ = op(B)ᵀ·op(A)ᵀ: it gets B first.
void multiply_with_blas(const LibraryProduct& p, CUstream stream) {
  Blas& lt = *blas();
  const std::lock_guard lock(lt.mutex);
  if (lt.handle == nullptr) check(lt.create(&lt.handle), "starting");
  Owned<Operation> operation(lt.destroy_operation);
  Owned<Preference> preference(lt.destroy_preference);
  Owned<Layout> b(lt.destroy_layout), a(lt.destroy_layout), c(lt.destroy_layout);
  check(lt.create_operation(&operation.value, kCompute32F, kF32), "describing a product");
  const int32_t transposed[2] = {p.transpose_b, p.transpose_a};
  check(lt.set_operation(operation.value, kTransA, &transposed[0], sizeof(int32_t)), "describing a product");
  check(lt.set_operation(operation.value, kTransB, &transposed[1], sizeof(int32_t)), "describing a product");
  const auto [b_rows, b_columns] = p.transpose_b ? std::pair{p.k, p.n} : std::pair{p.n, p.k};
  const auto [a_rows, a_columns] = p.transpose_a ? std::pair{p.m, p.k} : std::pair{p.k, p.m};
  check(lt.create_layout(&b.value, kBf16, b_rows, b_columns, b_rows), "describing B");
  check(lt.create_layout(&a.value, kBf16, a_rows, a_columns, a_rows), "describing A");
  check(lt.create_layout(&c.value, p.f32 ? kF32 : kBf16, p.n, p.m, p.n), "describing C");
  const uint64_t most = kLibraryWorkspace;
  check(lt.create_preference(&preference.value), "choosing an algorithm");
  check(lt.set_preference(preference.value, kMostWorkspace, &most, sizeof most), "choosing an algorithm");
  Heuristic chosen{};
  int found = 0;
  check(lt.choose(lt.handle, operation.value, b.value, a.value, c.value, c.value, preference.value, 1, &chosen, &found),
        "choosing an algorithm");
  check(found > 0 ? chosen.state : 15, "choosing an algorithm");  // CUBLAS_STATUS_NOT_SUPPORTED
  const float one = 1, beta = p.addend == nullptr ? 0.0f : 1.0f;
  check(lt.matmul(lt.handle, operation.value, &one, p.b, b.value, p.a, a.value, &beta, p.addend == nullptr ? p.c : p.addend, c.value, p.c,
                  c.value, &chosen.algorithm, p.workspace, kLibraryWorkspace, stream),
        "multiplying");
}

}  // namespace slayer::cuda
