// What worker.cc calls, once per instruction set: the kernel, and the loop that measures the peak.
#include "fma_peak.h"
#include "../../../kernels/cpu/kernel.h"
#include "isa_entry.h"

namespace slayer::SLAYER_ISA {

void matmul(const Call& call, Pool& pool);

extern const IsaEntry kEntry;
const IsaEntry kEntry{kLanes, matmul, [](int64_t rounds, float x, int64_t& operations) {
                        return fma_chains(rounds, x, operations);
                      }};

}  // namespace slayer::SLAYER_ISA
