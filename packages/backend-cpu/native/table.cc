// One instruction set's kernels by name. Compiled once per instruction set, like the kernels (see CMakeLists.txt).
#include "../../../kernels/cpu/kernels.h"

namespace slayer::SLAYER_ISA {

extern const KernelEntry kKernels[];
extern const size_t kKernelCount;

#define SLAYER_ENTRY(op) {#op, op},
const KernelEntry kKernels[] = {SLAYER_KERNELS(SLAYER_ENTRY)};
const size_t kKernelCount = sizeof kKernels / sizeof kKernels[0];

}  // namespace slayer::SLAYER_ISA
