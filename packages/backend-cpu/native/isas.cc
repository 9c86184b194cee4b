// Which instruction sets can be used here. SLAYER_ISAS is the build's list, fastest first: X(avx512) X(avx2) X(portable).
#include "tables.h"

namespace slayer {

#define SLAYER_DECLARE_TABLE(isa)         \
  namespace isa {                         \
  extern const KernelEntry kKernels[];    \
  extern const size_t kKernelCount;       \
  extern const PeakLoops kPeakLoops;      \
  }
#define X(isa) SLAYER_DECLARE_TABLE(isa)
SLAYER_ISAS
#undef X

namespace {

// The compiler's runtime reads CPUID and XCR0: what the processor has and the operating system saves. The features are
// those that CMakeLists.txt compiles for.
[[maybe_unused]] bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

[[maybe_unused]] bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

// Part of the architecture.
[[maybe_unused]] bool has_neon() { return true; }
[[maybe_unused]] bool has_portable() { return true; }

}  // namespace

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
#define X(isa) \
  if (has_##isa()) isas.push_back({#isa, {isa::kKernels, isa::kKernelCount}, isa::kPeakLoops});
  SLAYER_ISAS
#undef X
  return isas;
}

}  // namespace slayer
