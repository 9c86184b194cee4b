// y = a + b, all of one shape [N]. Bound by memory: 12 bytes per element. Ranges of N go to the threads.
#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

void add(const Call& call, Pool& pool) {
  const float* const a = call.in[0].f32();
  const float* const b = call.in[1].f32();
  float* const y = call.out[0].f32();
  parallel_ranges(pool, call.out[0].size(), kElementGrain, [=](int64_t begin, int64_t end) {
    in_vectors(begin, end, [=](int64_t i, auto at) { at.store(y + i, at.load(a + i) + at.load(b + i)); });
  });
}

}  // namespace slayer::SLAYER_ISA
