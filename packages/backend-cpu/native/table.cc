// One instruction set's kernels by name, and its peaks. Compiled once per instruction set, like the kernels (see CMakeLists.txt).
#include "../../../kernels/cpu/kernels.h"
#include "../../../kernels/cpu/peaks.h"
#include "peaks.h"

namespace slayer::SLAYER_ISA {

extern const KernelEntry kKernels[];
extern const size_t kKernelCount;
extern const PeakLoops kPeakLoops;

#define SLAYER_ENTRY(op) {#op, op},
const KernelEntry kKernels[] = {SLAYER_KERNELS(SLAYER_ENTRY)};
const size_t kKernelCount = sizeof kKernels / sizeof kKernels[0];

const PeakLoops kPeakLoops{[](int64_t rounds, float x, float& sum) { return fma_chains(rounds, x, sum); },
                           [](const float* from, float* to, int64_t n) { copy_stream(from, to, n); }};

}  // namespace slayer::SLAYER_ISA
