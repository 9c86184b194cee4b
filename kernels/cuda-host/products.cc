// Hopper's products (wgmma): issued by each lane, made for a warp's 16 rows when the warp waits for them, so that tiles, registers and
// sums which are touched too early are found.
#include <algorithm>
#include <cstring>
#include <limits>

#include "executor.h"

namespace slayer::host {

namespace {

constexpr int kMostColumns = 256;

float to_float(const std::byte* from) {
  uint16_t high;
  std::memcpy(&high, from, 2);
  const uint32_t bits = uint32_t{high} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// An operand in shared memory: rows (of A, or columns of B) `first` to `first + rows` − 1, 16 steps of k.
struct Operand {
  uint32_t start;
  int panel;
  bool transposed;
  int first, rows, k;

  // body(place, row, step) for each 16 bytes: 8 steps of one row, or transposed one step of 8 rows.
  template <class F>
  void for_chunks(F body) const {
    if (transposed) {
      for (int step = 0; step < 16; step++) {
        for (int row = first; row < first + rows; row += 8) {
          const int at = row / 64 * panel + (k + step) * 128 + ((row % 64 / 8) ^ ((k + step) % 8)) * 16;
          body(start + static_cast<uint32_t>(at), row - first, step);
        }
      }
    } else {
      for (int row = first; row < first + rows; row++) {
        for (int step = 0; step < 16; step += 8) {
          body(start + static_cast<uint32_t>(row * 128 + (((k + step) / 8) ^ (row % 8)) * 16), row - first, step);
        }
      }
    }
  }

  // Into to[step][row].
  template <size_t Rows>
  void load(const std::byte* memory, float (&to)[16][Rows]) const {
    for_chunks([&](uint32_t at, int row, int step) {
      if (at + size_t{16} > SharedMemory::kMost) return;
      for (int i = 0; i < 8; i++) to[transposed ? step : step + i][transposed ? row + i : row] = to_float(memory + at + 2 * i);
    });
  }
};

Operand left_of(const GroupProduct& product, const Thread& thread) {
  return {product.a, product.a_panel, product.a_transposed, thread.number / static_cast<int>(kWarp) % 4 * 16, 16, product.k};
}
Operand right_of(const GroupProduct& product) {
  return {product.b, product.b_panel, product.b_transposed, 0, product.columns, product.k};
}

HeldSums& held_of(Thread& thread, const float* sums) {
  return *std::find_if(thread.held.begin(), thread.held.end(), [&](const HeldSums& held) { return held.sums == sums; });
}

// Between a warp's 16 rows of sums and what its lanes hold of them.
template <class F>
void for_sums(int columns, F body) {
  for (int lane = 0; lane < static_cast<int>(kWarp); lane++) {
    for (int i = 0; i < columns / 2; i++) body(lane, i, lane / 4 + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2);
  }
}

void multiply_add(float (&sums)[16][kMostColumns], const float (&left)[16][16], const float (&right)[16][kMostColumns], int columns) {
  constexpr int kPiece = 64;
  for (int row = 0; row < 16; row++) {
    for (int from = 0; from < columns; from += kPiece) {
      float piece[kPiece] = {};
      for (int k = 0; k < 16; k++) {
        const float factor = left[k][row];
        const float* const others = &right[k][from];
        for (int i = 0; i < kPiece; i++) piece[i] += factor * others[i];
      }
      for (int i = 0; i < kPiece; i++) sums[row][from + i] += piece[i];
    }
  }
}

bool alike(const GroupProduct& x, const GroupProduct& y) {
  return x.columns == y.columns && (x.left == nullptr) == (y.left == nullptr) && x.a == y.a && x.b == y.b && x.a_panel == y.a_panel &&
         x.b_panel == y.b_panel && x.a_transposed == y.a_transposed && x.b_transposed == y.b_transposed && x.k == y.k && x.add == y.add &&
         x.group == y.group;
}

void finish_products(Warp& warp, Access by) {
  Thread* const lanes = warp.first;
  auto& products = lanes[0].products;
  const std::byte* const memory = lanes[0].block->shared.data();
  size_t due = 0;
  while (due < products.size() && products[due].group + warp.keep < lanes[0].product_group) due++;
  for (unsigned lane = 1; lane < kWarp; lane++) {
    bool same = lanes[lane].products.size() == products.size();
    for (size_t i = 0; same && i < due; i++) same = alike(products[i], lanes[lane].products[i]);
    if (!same) return lanes[0].block->shared.report("lanes of a warp multiply different tiles");
  }
  static thread_local float sums[16][kMostColumns], right[16][kMostColumns];
  for (size_t i = 0; i < due; i++) {
    const GroupProduct& product = products[i];
    const int columns = product.columns;
    const auto held = [&](int lane) -> HeldSums& { return held_of(lanes[lane], lanes[lane].products[i].sums); };
    if (!product.add) std::memset(sums, 0, sizeof sums);
    else if (i == 0 || products[i - 1].sums != product.sums) {
      const float* values[kWarp];
      for (int lane = 0; lane < static_cast<int>(kWarp); lane++) values[lane] = held(lane).values.data();
      for_sums(columns, [&](int lane, int j, int row, int column) { sums[row][column] = values[lane][j]; });
    }
    float left[16][16];
    if (product.left == nullptr) {
      left_of(product, lanes[0]).load(memory, left);
      left_of(product, lanes[0]).for_chunks([&](uint32_t at, int, int) { lanes[0].block->shared.end_product(by, at); });
    } else {
      for (int lane = 0; lane < static_cast<int>(kWarp); lane++) {
        for (int e = 0; e < 8; e++) {
          const auto* const pair = reinterpret_cast<const std::byte*>(&lanes[lane].products[i].left[e / 2]);
          left[lane % 4 * 2 + e / 4 * 8 + e % 2][lane / 4 + e / 2 % 2 * 8] = to_float(pair + e % 2 * 2);
        }
      }
    }
    right_of(product).load(memory, right);
    right_of(product).for_chunks([&](uint32_t at, int, int) { lanes[0].block->shared.end_product(by, at); });
    multiply_add(sums, left, right, columns);
    if (i + 1 == due || products[i + 1].sums != product.sums) {
      float* values[kWarp];
      for (int lane = 0; lane < static_cast<int>(kWarp); lane++) values[lane] = held(lane).values.data();
      for_sums(columns, [&](int lane, int j, int row, int column) { values[lane][j] = sums[row][column]; });
    }
  }
  for (unsigned lane = 0; lane < kWarp; lane++) {
    Thread& thread = lanes[lane];
    for (size_t i = 0; i < due; i++) {
      HeldSums& held = held_of(thread, thread.products[i].sums);
      if (--held.pending > 0) continue;
      std::copy(held.values.begin(), held.values.end(), held.sums);
      thread.products_begun = false;
      thread.held.erase(thread.held.begin() + (&held - thread.held.data()));
    }
    thread.products.erase(thread.products.begin(), thread.products.begin() + static_cast<std::ptrdiff_t>(due));
  }
}

}  // namespace

void Executor::multiply(const GroupProduct& product) {
  Thread& thread = *current_;
  if (product.b % 1024 != 0 || (product.left == nullptr && product.a % 1024 != 0)) {
    return report("a product of tiles that are not aligned to 1024 bytes");
  }
  if (product.k % 16 != 0 || product.k < 0 || (product.k >= 64 && !(product.b_transposed && (product.left != nullptr || product.a_transposed)))) {
    return report("a product from step " + std::to_string(product.k) + " on of tiles of 64 steps");
  }
  auto held = std::find_if(thread.held.begin(), thread.held.end(), [&](const HeldSums& each) { return each.sums == product.sums; });
  // The thread may have touched these registers since the last products that had them.
  if (!thread.products_begun && (held == thread.held.end() || product.left != nullptr)) report("a product before begin_products");
  if (held == thread.held.end()) {
    const int count = product.columns / 2;
    thread.held.push_back({product.sums, 0, std::vector<float>(product.sums, product.sums + count)});
    held = thread.held.end() - 1;
    std::fill_n(product.sums, count, std::numeric_limits<float>::quiet_NaN());
  }
  held->pending++;
  thread.products.push_back(product);
  thread.products.back().group = thread.product_group;
  if (thread.lane() != 0) return;
  const auto begin = [&](uint32_t at, int, int) { shared().begin_product(access(), at); };
  if (product.left == nullptr) left_of(product, thread).for_chunks(begin);
  right_of(product).for_chunks(begin);
  for (const uint64_t part : {uint64_t{product.a}, uint64_t{product.b}, static_cast<uint64_t>(product.k), static_cast<uint64_t>(product.columns)}) {
    thread.warp->products_issued = (thread.warp->products_issued ^ part) * 0x100000001b3 + 1;
  }
}

void Executor::commit_products() { current_->product_group++; }

void Executor::wait_products(unsigned keep) {
  static const auto& finish = *new std::function<void(Warp&, unsigned)>([](Warp& warp, unsigned) { finish_products(warp, executor().access()); });
  current_->warp->keep = keep;
  warp_barrier(0xffffffffu, &finish, false);
}

// When the last thread of a block returns.
void Executor::check_products(Block& block) {
  for (size_t i = 0; i < block.warps.size(); i++) {
    if (block.warps[i].products_issued != block.warps[i / 4 * 4].products_issued) {
      report("the warps of warpgroup " + std::to_string(i / 4) + " multiply different tiles");
    }
  }
}

}  // namespace slayer::host
