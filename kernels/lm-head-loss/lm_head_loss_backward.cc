// Gradient of the LM head's loss. With g_nv = dnll_n (exp(h_n·W_v − lse_n) − [v = target n]), 0 where the target is ignored:
//
//   dh = g·W      dW = gᵀ·h      dnll, lse [N]   h, dh [..., D] = [N, D]   W (f32 or bf16), dW [V, D]   targets i32 [N]
//
// Of g [N, V] a slab exists at a time, at most kRows × kColumns, shared by all threads: it is computed in tiles (the logits once
// more), then multiplied in both ways, in tasks that each own rows of dW or of dh. Sums over slabs are made in their order.
#include "panels.h"

namespace slayer::SLAYER_ISA {
namespace {

constexpr int64_t kRows = 1024;
constexpr int64_t kColumns = 1024;
constexpr int64_t kHalf = kColumns / 2;  // columns of a tile of g

// logits → g, in place; target counts from the first of the n columns.
void gradient(float* logits, int64_t n, float dnll, float lse, int64_t target) {
  for (int64_t j = 0; j < n; j += kLanes) {
    if (n - j >= kLanes) store(logits + j, exp(load(logits + j) - lse) * dnll);
    else store_part(logits + j, exp(load_part(logits + j, n - j) - lse) * dnll, n - j);
  }
  if (target >= 0 && target < n) logits[target] -= dnll;
}

template <class W>
void backward(const Call& call, Pool& pool, const W* w) {
  const float* dnll = call.in[0].f32();
  const float* h = call.in[1].f32();
  const int32_t* targets = call.in[3].i32();
  const float* lse = call.in[4].f32();
  const bool hidden = call.attr("hidden") != 0;
  float* dh = hidden ? call.out[0].f32() : nullptr;
  float* dw = call.attr("weight") != 0 ? call.out[hidden ? 1 : 0].f32() : nullptr;
  const int64_t N = call.in[3].size(), V = call.in[2].shape[0], D = call.in[2].shape[1];
  check_targets("lm_head_loss_backward", targets, N, V);

  const int64_t stride = least(V, kColumns);
  float* g = static_cast<float*>(pool.scratch(0, 1, static_cast<size_t>(least(N, kRows) * stride) * 4));
  for (int64_t first = 0; first < N; first += kRows) {
    const int64_t rows = least(N - first, kRows);
    for (int64_t begin = 0; begin < V; begin += kColumns) {
      const int64_t columns = least(V - begin, kColumns);

      const int64_t across = pieces(columns, kHalf);
      const int64_t tile_rows = rows_per_task(rows * across, pool);
      auto form = [&](int64_t index, int thread) {
        const int64_t i = index / across * tile_rows, j = index % across * kHalf;
        const int64_t height = least(rows - i, tile_rows), width = least(columns - j, kHalf);
        float* tile = g + i * stride + j;
        GemmScratch scratch(pool, thread);
        gemm(height, width, D, h + (first + i) * D, D, 1, w + (begin + j) * D, 1, D, tile, stride, false, scratch);
        for (int64_t r = 0; r < height; r++) {
          const int64_t n = first + i + r;
          if (targets[n] == kIgnoreTarget) std::memset(tile + r * stride, 0, static_cast<size_t>(width) * 4);
          else gradient(tile + r * stride, width, dnll[n], lse[n], targets[n] - begin - j);
        }
      };
      pool.run(pieces(rows, tile_rows) * across, form);

      const int64_t height = rows_per_task((dw ? columns : 0) + (dh ? rows : 0), pool);
      const int64_t for_w = dw ? pieces(columns, height) : 0;
      const int64_t for_h = dh ? pieces(rows, height) : 0;
      auto multiply = [&](int64_t index, int thread) {
        GemmScratch scratch(pool, thread);
        if (index < for_h) {
          const int64_t i = index * height;
          gemm(least(rows - i, height), D, columns, g + i * stride, stride, 1, w + begin * D, D, 1, dh + (first + i) * D, D,
               begin > 0, scratch);
        } else {
          const int64_t j = (index - for_h) * height;
          gemm(least(columns - j, height), D, rows, g + j, 1, stride, h + first * D, D, 1, dw + (begin + j) * D, D, first > 0,
               scratch);
        }
      };
      pool.run(for_h + for_w, multiply);
    }
  }
}

}  // namespace

void lm_head_loss_backward(const Call& call, Pool& pool) {
  call.in[2].with_floats([&](const auto* w) { backward(call, pool, w); });
}

}  // namespace slayer::SLAYER_ISA
