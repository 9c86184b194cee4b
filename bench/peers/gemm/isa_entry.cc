// What worker.cc calls, once per instruction set: the kernel, and the loop that measures the peak.
#include "../../../kernels/cpu/kernel.h"
#include "../../../kernels/cpu/peaks.h"
#include "isa_entry.h"

namespace slayer::SLAYER_ISA {

void matmul(const Call& call, Pool& pool);

extern const IsaEntry kEntry;
const IsaEntry kEntry{kLanes, matmul, [](int64_t rounds, float x, float& sum) { return fma_chains(rounds, x, sum); }};

}  // namespace slayer::SLAYER_ISA
