// LM head and cross-entropy in one: nll_n = logsumexp_v(h_n·W_v) − h_n·W_target, in nats; 0 where the target is ignored.
//
//   h [..., D] = [N, D]   W [V, D] (f32 or bf16)   targets i32 [N]   nll, lse [N]
//
// The logits [N, V] never exist. A task multiplies some rows of h with kColumns rows of W, and reduces the panel of logits to
// m = max and l = Σ exp(logit − m) per row; the parts of a row are then joined in order of the vocabulary.
#include "panels.h"

namespace slayer::SLAYER_ISA {
namespace {

constexpr int64_t kColumns = 768;

template <class W>
void loss(const Call& call, Pool& pool, const W* w) {
  const float* h = call.in[0].f32();
  const int32_t* targets = call.in[2].i32();
  float* nll = call.out[0].f32();
  float* lse = call.out[1].f32();
  const int64_t N = call.in[2].size(), V = call.in[1].shape[0], D = call.in[1].shape[1];
  check_targets("lm_head_loss", targets, N, V);

  const int64_t chunks = pieces(V, kColumns);
  const int64_t height = rows_per_task(N * chunks, pool);
  const int64_t panels = pieces(N, height);
  Part* parts = static_cast<Part*>(pool.scratch(0, 1, static_cast<size_t>(N * chunks) * sizeof(Part)));
  auto multiply = [&](int64_t index, int thread) {
    const int64_t chunk = index / panels, first = index % panels * height, begin = chunk * kColumns;
    const int64_t rows = least(N - first, height);
    const int64_t columns = least(V - begin, kColumns);
    float* logits = static_cast<float*>(pool.scratch(thread, 0, static_cast<size_t>(rows * columns) * 4));
    GemmScratch scratch(pool, thread);
    gemm(rows, columns, D, h + first * D, D, 1, w + begin * D, 1, D, logits, columns, false, scratch);
    for (int64_t i = 0; i < rows; i++) {
      const int64_t target = targets[first + i] - begin;
      if (target >= 0 && target < columns) nll[first + i] = logits[i * columns + target];
      parts[(first + i) * chunks + chunk] = reduce<false>(logits + i * columns, columns);
    }
  };
  pool.run(panels * chunks, multiply);

  auto join = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const double sum = log_sum(parts + i * chunks, chunks);
      lse[i] = static_cast<float>(sum);
      nll[i] = targets[i] == kIgnoreTarget ? 0 : static_cast<float>(sum - nll[i]);
    }
  };
  parallel_ranges(pool, N, 64, join);
}

}  // namespace

void lm_head_loss(const Call& call, Pool& pool) {
  call.in[1].with_floats([&](const auto* w) { loss(call, pool, w); });
}

}  // namespace slayer::SLAYER_ISA
