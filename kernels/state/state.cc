// What changes memory that outlives a run, in place.
//
//   accumulate:   target [N] += x [N]
//   clear:        target [N] = 0
//   copy:         target [N] = x [N], each f32 or bf16; f32 is rounded to the nearest bf16, to even where two are as near
//   cache_write:  cache [B, S, D] at [:, offset … offset + T − 1, :] = x [B, T, D]; offset [1]
#include <stdexcept>
#include <type_traits>

#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

void accumulate(const Call& call, Pool& pool) {
  float* const target = call.in[0].f32();
  const float* const x = call.in[1].f32();
  parallel_ranges(pool, call.in[0].size(), kElementGrain, [=](int64_t begin, int64_t end) {
    in_vectors(begin, end, [=](int64_t i, auto at) { at.store(target + i, at.load(target + i) + at.load(x + i)); });
  });
}

void clear(const Call& call, Pool& pool) {
  float* const target = call.in[0].f32();
  parallel_ranges(pool, call.in[0].size(), kElementGrain,
                  [=](int64_t begin, int64_t end) { std::fill(target + begin, target + end, 0.0f); });
}

void copy(const Call& call, Pool& pool) {
  call.in[0].with_floats([&]<class To>(To* target) {
    call.in[1].with_floats([&]<class From>(From* x) {
      parallel_ranges(pool, call.in[0].size(), kElementGrain, [=](int64_t begin, int64_t end) {
        if constexpr (std::is_same_v<To, From>) std::copy(x + begin, x + end, target + begin);
        else in_vectors(begin, end, [=](int64_t i, auto at) { at.store(target + i, at.load(x + i)); });
      });
    });
  });
}

void cache_write(const Call& call, Pool& pool) {
  float* const cache = call.in[0].f32();
  const float* const x = call.in[1].f32();
  const int64_t S = call.in[0].shape[1];
  const int64_t T = call.in[1].shape[1];
  const int64_t D = call.in[0].columns();
  const int64_t offset = call.in[2].i32()[0];
  if (offset < 0 || offset + T > S) {
    throw std::out_of_range("rows " + std::to_string(offset) + ".." + std::to_string(offset + T - 1) +
                            " don't fit a cache of " + std::to_string(S));
  }
  parallel_ranges(pool, call.in[1].rows(), row_grain(D), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t b = row / T;
      std::copy_n(x + row * D, D, cache + (b * S + offset + row % T) * D);
    }
  });
}

}  // namespace slayer::SLAYER_ISA
