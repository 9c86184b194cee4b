// Loss of the LM head and its gradient from one set of logits: nll_n = lse_n − h_n·W_target with lse_n = logsumexp_v(h_n·W_v), and with
// g_nv = dnll_n (exp(h_n·W_v − lse_n) − [v = target]), both 0 where the target is ignored:
//
//   dh = g·W      dW = gᵀ·h      dnll, nll [N]   h, dh [..., D] = [N, D]   W (f32 or bf16), dW [V, D]   targets i32 [N]
//
// Of g [N, V] a slab of rows exists at a time, shared by all threads. Tasks make it in tiles, as exp(logit − m) with m = the row's maximum in the
// tile; what makes these g is known when the row's are all there. Then it is multiplied in both ways, in tasks that each own rows of
// dW or of dh. Sums over slabs are made in their order.
#include "panels.h"

namespace slayer::SLAYER_ISA {
namespace {

constexpr int64_t kColumns = 768;          // of a tile
constexpr int64_t kSlabBytes = 32 << 20;  // of g at most, unless kLeastRows are more
constexpr int64_t kLeastRows = 128;
constexpr int64_t kManyRows = 512;

// Columns of a product per task, of `columns` in all: two tasks for each thread, of whole tiles.
int64_t columns_per_task(int64_t columns, const Pool& pool) {
  return pieces(pieces(columns, 2 * pool.threads()), kTileColumns) * kTileColumns;
}

template <class W>
void loss_with_gradient(const Call& call, Pool& pool, const W* w) {
  const float* dnll = call.in[0].f32();
  const float* h = call.in[1].f32();
  const int32_t* targets = call.in[3].i32();
  float* nll = call.out[0].f32();
  const bool hidden = call.attr("hidden") != 0;
  float* dh = hidden ? call.out[1].f32() : nullptr;
  float* dw = call.attr("weight") != 0 ? call.out[hidden ? 2 : 1].f32() : nullptr;
  const int64_t N = call.in[3].size(), V = call.in[2].shape[0], D = call.in[2].shape[1];
  check_targets("lm_head_loss_with_gradient", targets, N, V);

  const int64_t chunks = pieces(V, kColumns);
  const int64_t most = std::max(kLeastRows, kSlabBytes / 4 / V);
  const int64_t slab = pieces(N, pieces(N, most));  // equal ones
  Part* parts = static_cast<Part*>(pool.scratch(0, 0, static_cast<size_t>(slab * chunks) * sizeof(Part)));
  float* g = static_cast<float*>(pool.scratch(0, 1, static_cast<size_t>(slab * V) * 4));
  for (int64_t first = 0; first < N; first += slab) {
    const int64_t rows = least(N - first, slab);

    const int64_t tile_rows = rows_per_task(rows * chunks, pool);
    const int64_t panels = pieces(rows, tile_rows);
    auto form = [&](int64_t index, int thread) {
      const int64_t chunk = index / panels, i = index % panels * tile_rows, begin = chunk * kColumns;
      const int64_t height = least(rows - i, tile_rows), width = least(V - begin, kColumns);
      float* tile = g + i * V + begin;
      GemmScratch scratch(pool, thread);
      gemm(height, width, D, h + (first + i) * D, D, 1, w + begin * D, 1, D, tile, V, false, scratch);
      for (int64_t r = 0; r < height; r++) {
        const int64_t target = targets[first + i + r] - begin;
        if (target >= 0 && target < width) nll[first + i + r] = tile[r * V + target];
        parts[(i + r) * chunks + chunk] = reduce<true>(tile + r * V, width);
      }
    };
    pool.run(panels * chunks, form);

    auto finish = [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        const int64_t n = first + r;
        if (targets[n] == kIgnoreTarget) {  // whatever its logits are, infinite ones too
          nll[n] = 0;
          std::memset(g + r * V, 0, static_cast<size_t>(V) * 4);
          continue;
        }
        const double lse = log_sum(parts + r * chunks, chunks);
        nll[n] = static_cast<float>(lse - nll[n]);
        for (int64_t c = 0; c < chunks; c++) {
          const double to_one = std::exp(static_cast<double>(parts[r * chunks + c].m) - lse);
          scale(g + r * V + c * kColumns, least(V - c * kColumns, kColumns), static_cast<float>(to_one) * dnll[n]);
        }
        g[r * V + targets[n]] -= dnll[n];
      }
    };
    parallel_ranges(pool, rows, 8, finish);

    // Every task packs what it multiplies by: all of W for rows of dh, or, where these are few, of W what columns of dh take; h for dW.
    const int64_t width = columns_per_task(D, pool);
    const int64_t height = rows_per_task((dw ? V : 0) + (dh ? rows : 0), pool);
    const int64_t tall = rows_per_task(rows, pool);
    const bool by_rows = rows >= kManyRows;
    const int64_t for_h = dh ? by_rows ? pieces(rows, tall) : pieces(D, width) : 0;
    const int64_t for_w = dw ? pieces(V, height) : 0;
    auto multiply = [&](int64_t index, int thread) {
      GemmScratch scratch(pool, thread);
      if (index < for_h && by_rows) {
        const int64_t i = index * tall;
        gemm(least(rows - i, tall), D, V, g + i * V, V, 1, w, D, 1, dh + (first + i) * D, D, false, scratch);
      } else if (index < for_h) {
        const int64_t j = index * width;
        gemm(rows, least(D - j, width), V, g, V, 1, w + j, D, 1, dh + first * D + j, D, false, scratch);
      } else {
        const int64_t j = (index - for_h) * height;
        gemm(least(V - j, height), D, rows, g + j, 1, V, h + first * D, D, 1, dw + j * D, D, first > 0, scratch);
      }
    };
    pool.run(for_h + for_w, multiply);
  }
}

}  // namespace

void lm_head_loss_with_gradient(const Call& call, Pool& pool) {
  call.in[2].with_floats([&](const auto* w) { loss_with_gradient(call, pool, w); });
}

}  // namespace slayer::SLAYER_ISA
