// sum: s [1] = Σ x, blocks of 4096 elements in f32, their sums in f64, in order.
// broadcast: y = s [1] in each element. fill: y = attribute `value` in each element. Ranges of y go to the threads.
#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

static void set_all(const Operand& y, float value, Pool& pool) {
  float* const to = y.f32();
  parallel_ranges(pool, y.size(), kElementGrain, [=](int64_t begin, int64_t end) { std::fill(to + begin, to + end, value); });
}

void sum(const Call& call, Pool& pool) {
  const float* const x = call.in[0].f32();
  const double total = sum_in_blocks(pool, call.in[0].size(), [=](int64_t i, auto at) { return at.load(x + i); });
  call.out[0].f32()[0] = static_cast<float>(total);
}

void broadcast(const Call& call, Pool& pool) { set_all(call.out[0], call.in[0].f32()[0], pool); }

void fill(const Call& call, Pool& pool) { set_all(call.out[0], static_cast<float>(call.attr("value")), pool); }

}  // namespace slayer::SLAYER_ISA
