// Rotary position embedding (Su et al. 2021), half-split layout: in each head of size E, with a = x_i and b = x_{i+E/2},
//
//   y_i = a·cos − b·sin,  y_{i+E/2} = b·cos + a·sin   of the angle position·frequency_i;  inverse: of minus the angle.
//
// x, y [M, H·E], positions [M], frequencies [E/2]. Rows go to the threads. Each row's cosines and sines serve all its heads.
// Where positions fill a range, as they do in training, a table for the range is made first: exact at every 64th position, and
// from one position to the next by the addition theorem in f64 (64 steps lose 2⁻⁴⁶, far below f32).
#include <cmath>

#include "../cpu/kernel.h"
#include "../cpu/loops.h"

namespace slayer::SLAYER_ISA {

namespace {

// Distinct positions first … first + count − 1, a row [cos (E/2), sin (E/2)] for each.
struct Table {
  int64_t first;
  int64_t count;
  const float* rows;
};

constexpr int64_t kExactEvery = 64;

// cos and sin of position·frequency for all frequencies.
void angle_row(int64_t position, const float* frequencies, int64_t half, double sign, float* row) {
  for (int64_t i = 0; i < half; i++) {
    const double angle = static_cast<double>(position) * frequencies[i];
    row[i] = static_cast<float>(std::cos(angle));
    row[half + i] = static_cast<float>(sign * std::sin(angle));
  }
}

// Rows begin … end − 1 of the table; begin is a multiple of kExactEvery.
void table_block(const Table& table, int64_t begin, int64_t end, const float* frequencies, int64_t half, double sign,
                 float* rows) {
  for (int64_t i = 0; i < half; i++) {
    const double step = frequencies[i];
    const double step_cos = std::cos(step);
    const double step_sin = std::sin(step);
    const double angle = static_cast<double>(table.first + begin) * step;
    double c = std::cos(angle);
    double s = std::sin(angle);
    for (int64_t p = begin; p < end; p++) {
      rows[p * 2 * half + i] = static_cast<float>(c);
      rows[p * 2 * half + half + i] = static_cast<float>(sign * s);
      const double next = c * step_cos - s * step_sin;
      s = s * step_cos + c * step_sin;
      c = next;
    }
  }
}

void rotate(const float* x, float* y, int64_t width, int64_t half, const float* row) {
  for (int64_t head = 0; head < width; head += 2 * half) {
    in_vectors(0, half, [=](int64_t i, auto at) {
      const Vec a = at.load(x + head + i);
      const Vec b = at.load(x + head + half + i);
      const Vec c = at.load(row + i);
      const Vec s = at.load(row + half + i);
      at.store(y + head + i, a * c - b * s);
      at.store(y + head + half + i, b * c + a * s);
    });
  }
}

}  // namespace

void rope(const Call& call, Pool& pool) {
  const float* const x = call.in[0].f32();
  const int32_t* const positions = call.in[1].i32();
  const float* const frequencies = call.in[2].f32();
  float* const y = call.out[0].f32();
  const int64_t M = call.in[1].size();
  const int64_t width = call.in[0].columns();
  const int64_t half = call.in[2].size();
  const double sign = call.attr("inverse") != 0 ? -1 : 1;
  const size_t row_bytes = static_cast<size_t>(2 * half) * sizeof(float);

  const auto [least, most] = std::minmax_element(positions, positions + M);
  Table table{*least, int64_t{*most} - *least + 1, nullptr};
  if (M > 1 && table.count <= M) {
    auto* const rows = static_cast<float*>(pool.scratch(0, 0, static_cast<size_t>(table.count) * row_bytes));
    const int64_t blocks = (table.count + kExactEvery - 1) / kExactEvery;
    parallel_ranges(pool, blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; b++) {
        const int64_t from = b * kExactEvery;
        table_block(table, from, std::min(table.count, from + kExactEvery), frequencies, half, sign, rows);
      }
    });
    table.rows = rows;
    parallel_ranges(pool, M, row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; t++) {
        rotate(x + t * width, y + t * width, width, half, table.rows + (positions[t] - table.first) * 2 * half);
      }
    });
    return;
  }
  auto task = [&](int64_t t, int thread) {
    auto* const row = static_cast<float*>(pool.scratch(thread, 0, row_bytes));
    angle_row(positions[t], frequencies, half, sign, row);
    rotate(x + t * width, y + t * width, width, half, row);
  };
  pool.run(M, task);
}

}  // namespace slayer::SLAYER_ISA
