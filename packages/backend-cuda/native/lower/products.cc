// Matrix products.
#include <cmath>

#include "../blas.h"
#include "lowering.h"

namespace slayer::cuda {

namespace {

constexpr int64_t kTile = 128;
constexpr int64_t kWideTile = 256;
// Three stages of two bf16 tiles, of 128 rows and as many columns, see matmul_mma.cu.
constexpr size_t mma_bytes(int64_t columns) { return static_cast<size_t>(3 * (kTile + columns) * 64 * 2); }
// Four stages and their barriers, see wgmma_tiles.h: a pair of blocks makes 256 × 256 sums.
constexpr size_t kPairBytes = 4 * (kTile + kWideTile) * 64 * 2 + 1024;
constexpr int64_t kPair = 256;
constexpr uint32_t kPairThreads = 384;
// Two stages of two f32 tiles, as many rows as columns, see matmul_simt.cu.
constexpr size_t simt_bytes(int64_t tile) { return static_cast<size_t>(2 * 2 * 8 * (tile + 4) * 4); }
constexpr int64_t kSmallTile = 64;
constexpr int64_t kMost = (int64_t{1} << 31) - kPair;  // what a tile ends with is an int32 too

// The wide tile takes less shared memory traffic per product, where there are enough of them for all multiprocessors.
bool takes_wide(const Limits& limits, int64_t m, int64_t n) {
  return limits.shared_bytes >= mma_bytes(kWideTile) && tiles(m, kTile) * tiles(n, kWideTile) >= limits.multiprocessors;
}

bool can_pair(const Limits& limits) { return limits.warpgroups && limits.multiprocessors >= 2 && limits.shared_bytes >= kPairBytes; }

// Whether there are enough tiles of 256 rows for half of the pairs of multiprocessors.
bool fills_pairs(const Limits& limits, int64_t pairs) { return pairs * 4 >= limits.multiprocessors; }

// As many pairs of blocks as run at once, or fewer where there are fewer tiles.
Extent pair_blocks(const Limits& limits, int64_t pairs) {
  return {static_cast<uint32_t>(2 * std::min<int64_t>(pairs, limits.multiprocessors / 2))};
}

// [rows, columns] for the copy engine.
TensorMap map_of_matrix(const Lowering& lowering, const void* data, int64_t rows, int64_t columns) {
  return lowering.map(data, {columns, rows}, {columns * 2});
}

// Ways to compute a product on the tensor cores, the one to take unmeasured first.
std::vector<std::string> variants_for(const Limits& limits, int64_t m, int64_t n) {
  std::vector<std::string> variants;
  const bool wide = takes_wide(limits, m, n);
  const bool pairs = can_pair(limits);
  const bool first = fills_pairs(limits, tiles(m, kPair) * tiles(n, kPair));
  if (pairs && first) variants.push_back("wgmma");
  if (wide) variants.push_back("wide");
  if (wide && tiles(m, kTile) * tiles(n, kWideTile) > limits.multiprocessors) variants.push_back("persistent");
  variants.push_back("narrow");
  if (pairs && !first) variants.push_back("wgmma");
  if (limits.blas) variants.push_back(kLibraryProduct);
  return variants;
}

// Extents are taken alike up to the nearest power of two, and beyond 8192 each.
std::string class_of(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b, bool f32) {
  const auto rounded = [](int64_t extent) { return std::to_string(int64_t{1} << std::min(13L, std::lround(std::log2(extent)))); };
  return std::string(transpose_a ? "T" : "N") + (transpose_b ? "T " : "N ") + rounded(m) + "×" + rounded(n) + "×" + rounded(k) +
         (f32 ? " f32" : " bf16");
}

bool aligned(const void* p) { return reinterpret_cast<uint64_t>(p) % 16 == 0; }

}  // namespace

void multiply(Lowering& lowering, const Matrix& a, const Matrix& b, void* c, DType c_type, const void* addend) {
  const int64_t m = a.transposed ? a.columns : a.rows;
  const int64_t k = a.transposed ? a.rows : a.columns;
  const int64_t n = b.transposed ? b.rows : b.columns;
  require(std::max({m, n, k}) <= kMost, "an extent is beyond 2³¹");
  Gemm args{};
  args.a = a.data;
  args.b = b.data;
  args.c = c;
  args.m = static_cast<int32_t>(m);
  args.n = static_cast<int32_t>(n);
  args.k = static_cast<int32_t>(k);
  args.addend = addend;
  const bool on_tensor_cores = a.dtype == DType::bf16 && b.dtype == DType::bf16 && a.columns % 8 == 0 && b.columns % 8 == 0 &&
                               aligned(a.data) && aligned(b.data) && aligned(c) && aligned(addend);
  const std::string layout = std::string(a.transposed ? "t" : "n") + (b.transposed ? "t" : "n");
  if (on_tensor_cores) {
    const Limits& limits = lowering.limits();
    const bool f32 = c_type == DType::f32;
    const std::string variant = lowering.choose({class_of(m, n, k, a.transposed, b.transposed, f32), m, n, k, a.transposed, b.transposed, f32,
                                                 variants_for(limits, m, n)});
    const auto blocks = [&](int64_t columns) { return Extent{static_cast<uint32_t>(tiles(m, kTile) * tiles(n, columns))}; };
    if (variant == kLibraryProduct) {
      const LibraryProduct product{a.data, b.data, addend, c, lowering.workspace<std::byte>(kLibraryWorkspace), args.m, args.n, args.k,
                                   a.transposed, b.transposed, f32};
      lowering.launch(kLibraryProduct, {}, {}, product);
    } else if (variant == "wgmma") {
      const GroupGemm group{args, map_of_matrix(lowering, a.data, a.rows, a.columns), map_of_matrix(lowering, b.data, b.rows, b.columns)};
      lowering.launch(kernel_for(("matmul_wgmma_" + layout).c_str(), {c_type}), pair_blocks(limits, tiles(m, kPair) * tiles(n, kPair)),
                      {kPairThreads}, group, kPairBytes);
    } else {
      // One block of wide tiles fills a multiprocessor's shared memory.
      const bool persistent = variant == "persistent";
      const int64_t columns = variant == "wide" || persistent ? kWideTile : kTile;
      const std::string family = "matmul_mma_" + (columns == kWideTile ? variant + "_" : "") + layout;
      const Extent grid = persistent ? Extent{static_cast<uint32_t>(limits.multiprocessors)} : blocks(columns);
      lowering.launch(kernel_for(family.c_str(), {c_type}), grid, {256}, args, mma_bytes(columns));
    }
    return;
  }
  require(c_type == DType::f32 || (c_type == DType::bf16 && a.dtype == DType::bf16), "f32 activations give f32 results only");
  args.a_row = a.transposed ? 1 : k;
  args.a_step = a.transposed ? m : 1;
  args.b_row = b.transposed ? k : 1;
  args.b_step = b.transposed ? 1 : n;
  args.wide = n % 4 == 0 && aligned(c) && aligned(addend);
  const bool packed = (a.dtype == DType::f32 || b.dtype == DType::f32) && a.columns % 4 == 0 && b.columns % 4 == 0 && aligned(a.data) && aligned(b.data);
  // Tiles of a quarter's size, where large ones would leave every other multiprocessor without.
  const bool large = packed && tiles(m, kTile) * tiles(n, kTile) * 2 > lowering.limits().multiprocessors;
  const int64_t tile = large ? kTile : kSmallTile;
  const int64_t blocks = tiles(m, tile) * tiles(n, tile);
  require(blocks < int64_t{1} << 31, "it has too many rows and columns");
  const std::string family = "matmul_simt_" + (packed ? (large ? "" : "small_") + layout : "any");
  lowering.launch(kernel_for(family.c_str(), {a.dtype, b.dtype, c_type}), {static_cast<uint32_t>(blocks)}, {large ? 256u : 128u}, args,
                  simt_bytes(tile));
}

namespace {

void multiply(Lowering& lowering, const Call& call, size_t first, const Operand& c, const Operand* addend = nullptr) {
  const auto matrix = [](const Operand& x, bool transposed) {
    return Matrix{x.data, x.dtype, x.rows(), x.columns(), transposed};
  };
  multiply(lowering, matrix(call.in[first], call.attr("transposeA") != 0), matrix(call.in[first + 1], call.attr("transposeB") != 0), c.data,
           c.dtype, addend == nullptr ? nullptr : addend->data);
}

}  // namespace

void lower_matmul(const Call& call, Lowering& lowering) { multiply(lowering, call, 0, call.out[0]); }

void lower_matmul_add(const Call& call, Lowering& lowering) { multiply(lowering, call, 0, call.out[0], &call.in[2]); }

void lower_matmul_accumulate(const Call& call, Lowering& lowering) { multiply(lowering, call, 1, call.in[0], &call.in[0]); }

void lower_matmul_swiglu(const Call& call, Lowering& lowering) {
  const auto& [x, gate, up] = std::tie(call.in[0], call.in[1], call.in[2]);
  SwigluProducts args{};
  args.m = static_cast<int32_t>(x.rows());
  args.n = static_cast<int32_t>(gate.rows());
  args.k = static_cast<int32_t>(x.columns());
  require(std::max({x.rows(), gate.rows(), x.columns()}) <= kMost, "an extent is beyond 2³¹");
  // Others are made of their parts: nothing would be gained.
  require(x.columns() % 8 == 0 && gate.rows() % 8 == 0, "it is for widths that are multiples of 8");
  for (const Operand* operand : {&x, &gate, &up, &call.out[0]}) {
    require(operand->dtype == DType::bf16 && operand->aligned(16), "it is for aligned operands in bf16");
  }
  args.x = x.data;
  args.gate = gate.data;
  args.up = up.data;
  args.y = call.out[0].data;
  if (call.attr("keep") != 0) {
    args.g = call.out.at(1).data;
    args.u = call.out.at(2).data;
  }
  const Limits& limits = lowering.limits();
  const int64_t pairs = tiles(args.m, kPair) * tiles(args.n, kPair / 2);
  if (can_pair(limits) && fills_pairs(limits, pairs)) {
    const auto map = [&](const Operand& x) { return map_of_matrix(lowering, x.data, x.rows(), x.columns()); };
    lowering.launch("matmul_swiglu_wgmma_bf16", pair_blocks(limits, pairs), {kPairThreads}, GroupSwiglu{args, map(x), map(gate), map(up)}, kPairBytes);
    return;
  }
  const int64_t columns = takes_wide(limits, args.m, 2 * args.n) ? kWideTile : kTile;
  lowering.launch(columns == kWideTile ? "matmul_swiglu_wide_bf16" : "matmul_swiglu_bf16",
                  {static_cast<uint32_t>(tiles(args.m, kTile) * tiles(args.n, columns / 2))}, {256}, args, mma_bytes(columns));
}

}  // namespace slayer::cuda
