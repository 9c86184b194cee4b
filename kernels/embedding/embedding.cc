// embedding: y [M, D] = rows of table [V, D] (f32, or bf16 with the attribute f32) at ids [M]. Positions go to the threads.
//
// embedding_backward: dtable [V, D], row v = Σ of dy [M, D] over the positions whose id is v. Positions are sorted by id first
// (counting, stable), so that each row of the table is one task's alone and its sum is made in the order of positions.
#include <stdexcept>

#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

static void check_ids(const Operand& ids, int64_t V) {
  for (int64_t i = 0; i < ids.size(); i++) {
    const int32_t id = ids.i32()[i];
    if (id >= 0 && id < V) continue;
    throw std::out_of_range("id " + std::to_string(id) + " at position " + std::to_string(i) + " is outside 0.." +
                            std::to_string(V - 1));
  }
}

void embedding(const Call& call, Pool& pool) {
  const int64_t D = call.in[0].columns();
  const int32_t* const ids = call.in[1].i32();
  float* const y = call.out[0].f32();
  check_ids(call.in[1], call.in[0].rows());
  call.in[0].with_floats([&](const auto* table) {
    parallel_ranges(pool, call.in[1].size(), row_grain(D), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const auto* const row = table + ids[i] * D;
        in_vectors(0, D, [=](int64_t j, auto at) { at.store(y + i * D + j, at.load(row + j)); });
      }
    });
  });
}

void embedding_backward(const Call& call, Pool& pool) {
  const float* const dy = call.in[0].f32();
  const int32_t* const ids = call.in[1].i32();
  float* const dtable = call.out[0].f32();
  const int64_t M = call.in[1].size();
  const int64_t V = call.out[0].rows();
  const int64_t D = call.out[0].columns();
  check_ids(call.in[1], V);

  // Positions with id v are order[start[v]] … order[start[v + 1] − 1].
  auto* const start = static_cast<int64_t*>(pool.scratch(0, 0, static_cast<size_t>(V + 2) * sizeof(int64_t)));
  auto* const order = static_cast<int64_t*>(pool.scratch(0, 1, static_cast<size_t>(M) * sizeof(int64_t)));
  std::fill_n(start, V + 2, 0);
  for (int64_t i = 0; i < M; i++) start[ids[i] + 2]++;
  for (int64_t v = 0; v < V; v++) start[v + 2] += start[v + 1];
  for (int64_t i = 0; i < M; i++) order[start[ids[i] + 1]++] = i;

  parallel_ranges(pool, V, row_grain(D), [=](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; v++) {
      float* const row = dtable + v * D;
      std::fill_n(row, D, 0.0f);
      for (int64_t k = start[v]; k < start[v + 1]; k++) {
        const float* const from = dy + order[k] * D;
        in_vectors(0, D, [=](int64_t j, auto at) { at.store(row + j, at.load(row + j) + at.load(from + j)); });
      }
    }
  });
}

}  // namespace slayer::SLAYER_ISA
