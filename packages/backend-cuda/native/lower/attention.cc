#include "lowering.h"

namespace slayer::cuda {

namespace {

constexpr int kMostHead = 256;   // of the kernels that take a row at a time
constexpr uint32_t kRowWarps = 4;
constexpr size_t kRowBytes = kRowWarps * kMostHead * 4;

Attention sizes(const Call& call, const Operand& q, const Operand& k, Lowering& lowering) {
  Attention args{};
  args.B = static_cast<int32_t>(q.shape.at(0));
  args.T = static_cast<int32_t>(q.shape.at(1));
  args.S = static_cast<int32_t>(k.shape.at(1));
  args.H = static_cast<int32_t>(call.attr("heads"));
  args.K = static_cast<int32_t>(call.attr("kvHeads"));
  require(args.H > 0 && args.K > 0 && args.H % args.K == 0, "heads are not a multiple of kvHeads");
  args.E = static_cast<int32_t>(q.columns() / args.H);
  args.window = static_cast<int32_t>(call.attr("window"));
  args.scale = static_cast<float>(call.attr("scale"));
  args.step = lowering.step();
  args.fault = lowering.fault();
  require(args.E <= kMostHead, "head sizes are at most 256");
  require(args.H <= 65535 && args.B <= 65535, "it has more heads or batch entries than a grid may have");
  return args;
}

// Whether the tensor cores' kernels take it: they move 16 bytes at a time, and waste little from 16 rows on.
bool on_tensor_cores(const Limits& limits, size_t shared_bytes, const Attention& args, std::initializer_list<const Operand*> operands) {
  const bool made = limits.heads.count(args.E) > 0 || (limits.compiler && args.E % 16 == 0);
  bool fits = made && args.T >= 16 && shared_bytes <= limits.shared_bytes;
  for (const Operand* operand : operands) fits = fits && operand->dtype == DType::bf16 && operand->aligned(16);
  return fits;
}

constexpr int32_t kTileRows = 64;
constexpr int32_t kQueryRows = 128;

// Of a tile that holds rows of a head, see kernels/attention/fragments.h.
int64_t head_columns(int32_t E) { return tiles(E, 64) * 64; }

Extent blocks(int32_t n, int32_t tile, int32_t heads, int32_t batch) {
  return {static_cast<uint32_t>(tiles(n, tile)), static_cast<uint32_t>(heads), static_cast<uint32_t>(batch)};
}

std::string sized(const char* family, int32_t E) { return family + std::to_string(E); }

Extent rows(int32_t n, int32_t heads, int32_t batch) {
  return {static_cast<uint32_t>(tiles(n, kRowWarps)), static_cast<uint32_t>(heads), static_cast<uint32_t>(batch)};
}

// What Hopper's kernels take, see kernels/attention/groups.h: less would not fill their tiles. The softmax relies on the sign of the scale.
bool on_warpgroups(const Limits& limits, const Attention& args) {
  return limits.warpgroups && (args.E == 64 || args.E == 128) && args.T >= 64 && args.scale > 0 &&
         int64_t{args.B} * args.H * args.T < int64_t{1} << 31;
}

// With maps of whatever operands there are.
GroupAttention grouped(const Attention& args, const Lowering& lowering) {
  const auto map = [&](const void* data, int64_t rows, int64_t heads) {
    return data == nullptr ? TensorMap{} : lowering.map(data, {heads * args.E, rows, args.B}, {2 * heads * args.E, 2 * rows * heads * args.E});
  };
  return {args, map(args.q, args.T, args.H), map(args.k, args.S, args.K), map(args.v, args.S, args.K), map(args.dout, args.T, args.H)};
}

// Of B·`heads` heads, 128 of whose `rows` rows are a piece of work, how many to work on side by side: as many as read out of about this much of
// the cache, `read` bytes by each `group` of them, but enough that the last ones' longest pieces are not what everything waits for. More would
// read from memory, which takes no longer but power, and under load the clock follows that.
int32_t heads_at_once(const Limits& limits, int64_t B, int64_t heads, int64_t rows, int64_t group, int64_t read) {
  constexpr int64_t kCached = int64_t{24} << 20;
  const int64_t groups = B * heads / group;
  const int64_t least = tiles(2 * limits.multiprocessors, tiles(rows, kQueryRows) * group);
  const int64_t sections = std::max<int64_t>(groups / std::max(kCached / read, least), 1);
  return static_cast<int32_t>(tiles(groups, sections) * group);
}
// Those of queries, which read keys and values.
int32_t heads_at_once(const Limits& limits, const Attention& args) {
  return heads_at_once(limits, args.B, args.H, args.T, args.H / args.K, int64_t{4} * args.S * args.E);
}

// 128 of `rows` rows at a time, of each of so many heads per entry; `bytes` of shared memory for each element of a head's row, and some for
// barriers.
void launch_grouped(Lowering& lowering, const char* family, const GroupAttention& maps, int32_t rows, int32_t heads, int32_t at_once,
                    int64_t bytes) {
  GroupAttention args = maps;
  const int64_t pieces = tiles(rows, kQueryRows) * heads * args.attention.B;
  require(pieces < int64_t{1} << 30, "it has too many rows");
  args.at_once = at_once;
  args.tiles = static_cast<int32_t>(tiles(rows, kQueryRows));
  args.pieces = static_cast<int32_t>(pieces);
  args.blocks = std::min(args.pieces, lowering.limits().multiprocessors);
  args.dealt = lowering.counter();
  lowering.launch(sized(family, args.attention.E), {static_cast<uint32_t>(args.blocks)}, {384}, args,
                  static_cast<size_t>(bytes * args.attention.E + 4096));
}

}  // namespace

void lower_attention(const Call& call, Lowering& lowering) {
  const auto& [q, k, v] = std::tie(call.in[0], call.in[1], call.in[2]);
  require(q.dtype == k.dtype && k.dtype == v.dtype && is_float(q), "q, k and v have different types");
  require(call.out[1].dtype == DType::f32, "the log-sum-exp is f32 only");
  Attention args = sizes(call, q, k, lowering);
  args.q = q.data;
  args.k = k.data;
  args.v = v.data;
  args.o = call.out[0].data;
  args.lse = call.out[1].as<float>();
  if (call.attr("segments") != 0) args.segments = call.in.at(3).as<int32_t>();
  if (call.attr("offset") != 0) args.offset = call.in.at(3).as<int32_t>();
  const size_t bytes = static_cast<size_t>(2 * head_columns(args.E) * (kQueryRows + 4 * kTileRows));
  if (on_tensor_cores(lowering.limits(), bytes, args, {&q, &k, &v, &call.out[0]})) {
    if (on_warpgroups(lowering.limits(), args)) {
      launch_grouped(lowering, "attention_wgmma_", grouped(args, lowering), args.T, args.H, heads_at_once(lowering.limits(), args), 1280);
      return;
    }
    lowering.launch(sized("attention_mma_", args.E), blocks(args.T, kQueryRows, args.H, args.B), {128}, args, bytes);
    return;
  }
  lowering.launch(kernel_for("attention_rows", {q.dtype}), rows(args.T, args.H, args.B), {kRowWarps * 32}, args, kRowBytes);
}

void lower_attention_backward(const Call& call, Lowering& lowering) {
  const auto& [dout, q, k, v, o, lse] = std::tie(call.in[0], call.in[1], call.in[2], call.in[3], call.in[4], call.in[5]);
  for (const Operand* x : {&dout, &k, &v, &o}) require(x->dtype == q.dtype, "its operands have different types");
  require(is_float(q) && lse.dtype == DType::f32, "the log-sum-exp is f32 only");
  Attention args = sizes(call, q, k, lowering);
  args.q = q.data;
  args.k = k.data;
  args.v = v.data;
  args.dout = dout.data;
  args.o = o.data;
  args.lse = lse.as<float>();
  args.delta = lowering.workspace<float>(int64_t{args.B} * args.H * args.T);
  args.dq = call.out[0].data;
  args.dk = call.out[1].data;
  args.dv = call.out[2].data;
  if (call.attr("segments") != 0) args.segments = call.in.at(6).as<int32_t>();
  const Extent queries = rows(args.T, args.H, args.B);
  args.wide = args.E % 8 == 0 && dout.aligned(16) && o.aligned(16);
  int32_t lanes = 1;  // of a row, see attention_simt.cu
  while (lanes < 32 && lanes * (args.wide ? 16 / static_cast<int32_t>(bytes_of(q.dtype)) : 1) < args.E) lanes *= 2;
  const int32_t at_once = static_cast<int32_t>(kThreads) / lanes;
  lowering.launch(kernel_for("attention_delta", {q.dtype}), blocks(args.T, kDeltaRows * at_once, args.H, args.B), {kThreads}, args);
  const size_t bytes = static_cast<size_t>(2 * head_columns(args.E) * 6 * kTileRows);
  if (on_tensor_cores(lowering.limits(), bytes, args, {&dout, &q, &k, &v, &call.out[0], &call.out[1], &call.out[2]})) {
    if (on_warpgroups(lowering.limits(), args)) {
      const GroupAttention maps = grouped(args, lowering);
      launch_grouped(lowering, "attention_dq_wgmma_", maps, args.T, args.H, heads_at_once(lowering.limits(), args), 1536);
      const int32_t kv_heads = heads_at_once(lowering.limits(), args.B, args.K, args.S, 1, int64_t{4} * args.T * args.E * (args.H / args.K));
      launch_grouped(lowering, "attention_dkv_wgmma_", maps, args.S, args.K, kv_heads, args.E == 64 ? 1536 : 1280);
      return;
    }
    lowering.launch(sized("attention_dq_mma_", args.E), blocks(args.T, kTileRows, args.H, args.B), {128}, args, bytes);
    lowering.launch(sized("attention_dkv_mma_", args.E), blocks(args.S, kTileRows, args.K, args.B), {128}, args, bytes);
    return;
  }
  lowering.launch(kernel_for("attention_dq_rows", {q.dtype}), queries, {kRowWarps * 32}, args, 2 * kRowBytes);
  lowering.launch(kernel_for("attention_dkv_rows", {q.dtype}), rows(args.S, args.K, args.B), {kRowWarps * 32}, args, 2 * kRowBytes);
}

}  // namespace slayer::cuda
