// Ops over rows: norms, rotary embedding, table look-ups; and sums.
#include "lowering.h"

namespace slayer::cuda {

namespace {

// Threads for a row: a warp for short ones, up to 256.
uint32_t threads_for(int64_t columns, int64_t each) {
  const int64_t wanted = tiles(columns, each);
  uint32_t threads = 32;
  while (threads < kThreads && threads < wanted) threads *= 2;
  return threads;
}

int32_t wide(int64_t columns, std::initializer_list<const Operand*> operands) {
  bool aligned = columns % 8 == 0;
  for (const Operand* operand : operands) aligned = aligned && operand->aligned(16);
  return aligned;
}

// One value per row takes a block: their number is bounded by the grid.
uint32_t grid_of(int64_t n) {
  require(n < (int64_t{1} << 31), "it has more rows than a grid may have blocks");
  return static_cast<uint32_t>(n);
}

constexpr size_t kSumBytes = 256;  // of block_sum and block_max

// Columns of x summed over the rows into y: chunks of rows first, then the chunks.
void sum_columns(Lowering& lowering, const std::string& kernel, const Operand& x, ColumnSums args, const Operand& y) {
  require(is_float(y), "it is computed in f32 and bf16 only");
  const auto blocks = [&](int64_t columns) { return tiles(args.columns, 32 * columns); };  // columns of a thread, see column_sums.h
  const int64_t each = args.wide ? pack_of(x) : 1;
  const auto shared = [](int64_t columns) { return static_cast<size_t>(columns) * kThreads * sizeof(float); };
  // Blocks that the device can run at once.
  const int64_t chunks = std::clamp<int64_t>(4 * lowering.limits().multiprocessors / blocks(each), 1, tiles(args.rows, 32));
  args.rows_per_chunk = tiles(args.rows, chunks);
  const int64_t used = tiles(args.rows, args.rows_per_chunk);
  args.partial = lowering.workspace<float>(used * args.columns);
  lowering.launch(kernel, {grid_of(blocks(each)), static_cast<uint32_t>(used)}, {kThreads}, args, shared(each));
  const ColumnTotals totals{args.partial, y.data, args.columns, static_cast<int32_t>(used)};
  lowering.launch(kernel_for("add_chunks", {y.dtype}), {grid_of(blocks(1))}, {kThreads}, totals, shared(1));
}

void reduce(const Call& call, Lowering& lowering, bool squares) {
  const Operand& x = call.in[0];
  const Operand& y = call.out[0];
  require(is_float(x) && is_float(y), "it is computed in f32 and bf16 only");
  const auto blocks = static_cast<int32_t>(std::clamp<int64_t>(tiles(x.size(), 16 * kThreads), 1, 8 * lowering.limits().multiprocessors));
  const Reduction args{x.data, lowering.workspace<double>(blocks), y.data, x.size(), blocks, squares, wide(x.size(), {&x})};
  const size_t shared = kThreads * sizeof(double);
  lowering.launch(kernel_for("reduce", {x.dtype}), {static_cast<uint32_t>(blocks)}, {kThreads}, args, shared);
  lowering.launch(kernel_for("reduce_blocks", {y.dtype}), {1}, {kThreads}, args, shared);
}

}  // namespace

void lower_rmsnorm(const Call& call, Lowering& lowering) {
  const auto& [x, w] = std::tie(call.in[0], call.in[1]);
  require(call.out[1].dtype == DType::f32, "r is f32 only");
  RowNorm args{};
  args.x = x.data;
  args.w = w.data;
  args.y = call.out[0].data;
  args.r = call.out[1].as<float>();
  args.columns = x.columns();
  args.eps = static_cast<float>(call.attr("eps"));
  args.wide = wide(args.columns, {&x, &w, &call.out[0]});
  lowering.launch(kernel_for("rmsnorm", {x.dtype, w.dtype}), {grid_of(x.rows())}, {threads_for(args.columns, args.wide ? pack_of(x) : 1)}, args,
                  kSumBytes);
}

namespace {

void rmsnorm_gradient(const Call& call, Lowering& lowering, const char* family, const Operand* addend = nullptr) {
  const auto& [dy, x, w] = std::tie(call.in[0], call.in[1], call.in[2]);
  require(dy.dtype == x.dtype && call.in[3].dtype == DType::f32, "dy and x have different types, or r is not f32");
  RowNorm args{};
  args.dy = dy.data;
  args.x = x.data;
  args.w = w.data;
  args.y = call.out[0].data;
  args.r = call.in[3].as<float>();
  args.columns = x.columns();
  args.wide = wide(args.columns, {&dy, &x, &w, &call.out[0]});
  if (addend != nullptr) {
    args.addend = addend->data;
    args.wide = args.wide && addend->aligned(16);
  }
  lowering.launch(kernel_for(family, {x.dtype, w.dtype}), {grid_of(x.rows())}, {threads_for(args.columns, args.wide ? pack_of(x) : 1)}, args,
                  kSumBytes);
}

}  // namespace

void lower_rmsnorm_backward_input(const Call& call, Lowering& lowering) { rmsnorm_gradient(call, lowering, "rmsnorm_backward_input"); }

void lower_rmsnorm_backward_input_add(const Call& call, Lowering& lowering) {
  rmsnorm_gradient(call, lowering, "rmsnorm_backward_input_add", &call.in[4]);
}

void lower_rmsnorm_backward_weight(const Call& call, Lowering& lowering) {
  const auto& [dy, x, r] = std::tie(call.in[0], call.in[1], call.in[2]);
  require(dy.dtype == x.dtype && r.dtype == DType::f32, "dy and x have different types, or r is not f32");
  ColumnSums args{};
  args.dy = dy.data;
  args.x = x.data;
  args.r = r.as<float>();
  args.rows = x.rows();
  args.columns = x.columns();
  args.wide = wide(args.columns, {&dy, &x});
  sum_columns(lowering, kernel_for("rmsnorm_backward_weight", {x.dtype}), x, args, call.out[0]);
}

void lower_sum_rows(const Call& call, Lowering& lowering) {
  const Operand& x = call.in[0];
  ColumnSums args{};
  args.x = x.data;
  args.rows = x.rows();
  args.columns = x.columns();
  args.wide = wide(args.columns, {&x});
  require(is_float(x), "it is computed in f32 and bf16 only");
  sum_columns(lowering, kernel_for("sum_rows", {x.dtype}), x, args, call.out[0]);
}

void lower_sum(const Call& call, Lowering& lowering) { reduce(call, lowering, false); }

void lower_sum_of_squares(const Call& call, Lowering& lowering) { reduce(call, lowering, true); }

void lower_rope(const Call& call, Lowering& lowering) {
  const auto& [x, positions, frequencies] = std::tie(call.in[0], call.in[1], call.in[2]);
  require(frequencies.dtype == DType::f32, "the frequencies are f32 only");
  Rope args{};
  args.x = x.data;
  args.positions = positions.as<int32_t>();
  args.frequencies = frequencies.as<float>();
  args.y = call.out[0].data;
  args.tokens = positions.size();
  args.width = static_cast<int32_t>(x.columns());
  args.half = static_cast<int32_t>(frequencies.size());
  args.sign = call.attr("inverse") != 0 ? -1.0f : 1.0f;
  args.wide = wide(args.half, {&x, &call.out[0]});
  constexpr int64_t kRopeThreads = 128;
  const int64_t packs = args.width / 2 / (args.wide ? pack_of(x) : 1);  // of a token
  args.tokens_per_block = static_cast<int32_t>(tiles(kRopeThreads, packs));
  const size_t bytes = 2 * sizeof(float) * static_cast<size_t>(args.tokens_per_block) * static_cast<size_t>(args.half);
  require(bytes <= 48 << 10, "heads are wider than 12288");
  lowering.launch(kernel_for("rope", {x.dtype}), {grid_of(tiles(args.tokens, args.tokens_per_block))}, {kRopeThreads}, args, bytes);
}

void lower_dequantize(const Call& call, Lowering& lowering) {
  const auto& [codes, scales, w] = std::tie(call.in[0], call.in[1], call.out[0]);
  require(is_float(w), "it is computed in f32 and bf16 only");
  Dequantize args{};
  args.codes = codes.as<int32_t>();
  args.scales = scales.as<float>();
  args.y = w.data;
  args.n = codes.size();
  args.columns = w.columns();
  args.words = codes.columns();
  args.groups = scales.columns();
  lowering.launch(kernel_for(call.attr("bits") == 4 ? "dequantize4" : "dequantize8", {w.dtype}), blocks_for(args.n), {kThreads},
                  args);
}

void lower_embedding(const Call& call, Lowering& lowering) {
  const auto& [table, ids] = std::tie(call.in[0], call.in[1]);
  require(is_float(table), "it is computed in f32 and bf16 only");
  Embedding args{};
  args.table = table.data;
  args.ids = ids.as<int32_t>();
  args.y = call.out[0].data;
  args.positions = ids.size();
  args.columns = table.columns();
  args.rows = static_cast<int32_t>(table.rows());
  args.step = lowering.step();
  args.fault = lowering.fault();
  args.wide = wide(args.columns, {&table, &call.out[0]});
  lowering.launch(kernel_for("embedding", {call.out[0].dtype, table.dtype}), {grid_of(tiles(args.positions, kThreads / 32))}, {kThreads}, args);
}

void lower_embedding_backward(const Call& call, Lowering& lowering) {
  const auto& [dy, ids] = std::tie(call.in[0], call.in[1]);
  require(call.out[0].dtype == DType::f32, "a table's gradient is f32 only");
  require(ids.size() < (int64_t{1} << 31) - 16 * kThreads, "it has more positions than a warp counts");
  EmbeddingBackward args{};
  args.dy = dy.data;
  args.ids = ids.as<int32_t>();
  args.dtable = call.out[0].as<float>();
  args.columns = dy.columns();
  args.positions = static_cast<int32_t>(ids.size());
  args.rows = static_cast<int32_t>(call.out[0].rows());
  args.wide = wide(args.columns, {&dy, &call.out[0]});
  constexpr uint32_t kRowThreads = 128;
  const int64_t columns = 4 * kRowThreads * (args.wide ? 4 : 1);  // of a block, see embedding.cu
  const int64_t buckets = tiles(args.rows, kBucketRows);
  args.sorted = lowering.workspace<RowOfPosition>(args.positions);
  args.starts = lowering.workspace<int32_t>(buckets + 1);
  lowering.launch("embedding_buckets", {grid_of(buckets)}, {kThreads}, args, (kThreads + kThreads / 32) * sizeof(int32_t));
  lowering.launch(kernel_for("embedding_backward", {dy.dtype}), {grid_of(args.rows), static_cast<uint32_t>(tiles(args.columns, columns))},
                  {kRowThreads}, args, 2 * kRowThreads * sizeof(int32_t));
}

void lower_clip_factor(const Call& call, Lowering& lowering) {
  require(call.in[0].dtype == DType::f32 && call.in[1].dtype == DType::f32, "its scalars are f32 only");
  const Clip args{call.in[0].as<float>(), call.in[1].as<float>(), call.out[0].as<float>(), call.out[1].as<float>(),
                  static_cast<float>(call.attr("maxNorm"))};
  lowering.launch("clip_factor_f32", {1}, {32}, args);
}

void lower_adamw(const Call& call, Lowering& lowering) {
  const bool stochastic = call.attr("stochastic") != 0;
  for (int i : {2, 3, 4, 5}) require(call.in.at(i).dtype == DType::f32, "moments are f32 only");
  require(call.in[0].dtype == (stochastic ? DType::bf16 : DType::f32), "parameters are f32, or bf16 with stochastic rounding");
  require(!stochastic || call.in[1].dtype == DType::f32, "with stochastic rounding gradients are f32 only");
  Adamw args{};
  args.p = call.in[0].data;
  args.g = call.in[1].data;
  args.m = call.in[2].as<float>();
  args.v = call.in[3].as<float>();
  args.factor = call.in[4].as<float>();
  args.step = call.in[5].as<float>();
  args.n = call.in[0].size();
  args.beta1 = static_cast<float>(call.attr("beta1"));
  args.beta2 = static_cast<float>(call.attr("beta2"));
  args.rest1 = static_cast<float>(1 - call.attr("beta1"));
  args.rest2 = static_cast<float>(1 - call.attr("beta2"));
  args.eps = static_cast<float>(call.attr("eps"));
  args.decay = static_cast<float>(call.attr("weightDecay"));
  args.seed = static_cast<uint32_t>(call.attr("seed"));
  const Operand& working = call.in.size() > 6 ? call.in[6] : call.in[0];
  if (call.in.size() > 6) {
    require(working.dtype == DType::bf16, "the copy is bf16");
    args.working = working.data;
  }
  args.wide = wide(args.n, {&call.in[0], &call.in[1], &call.in[2], &call.in[3], &working});
  lowering.launch(stochastic ? "adamw_stochastic" : kernel_for("adamw", {call.in[1].dtype}), blocks_for(args.n, args.wide ? 4 : 1), {kThreads}, args);
}

}  // namespace slayer::cuda
