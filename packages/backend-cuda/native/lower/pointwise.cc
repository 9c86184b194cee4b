// Ops that treat each element by itself: one launch over [n].
#include "lowering.h"

namespace slayer::cuda {

namespace {

// Whether 8 elements may be moved at a time.
bool wide(int64_t n, int64_t columns, std::initializer_list<const Operand*> operands) {
  bool aligned = n % 8 == 0 && columns % 8 == 0;
  for (const Operand* operand : operands) aligned = aligned && operand->aligned(16);
  return aligned;
}

void launch(Lowering& lowering, std::string kernel, const Pointwise& args, const Operand& y) {
  lowering.launch(std::move(kernel), blocks_for(args.n, args.wide ? pack_of(y) : 1), {kThreads}, args);
}

void same_type(const Call& call) {
  for (const auto* operands : {&call.in, &call.out}) {
    for (const Operand& operand : *operands) require(operand.dtype == call.in[0].dtype, "its operands have different types");
  }
}

void fill(Lowering& lowering, const Operand& y, const void* from, float value) {
  require(is_float(y), "it is computed in f32 and bf16 only");
  Pointwise args{};
  args.a = from;
  args.y = y.data;
  args.n = y.size();
  args.value = value;
  args.wide = wide(args.n, 8, {&y});
  launch(lowering, kernel_for("fill", {y.dtype}), args, y);
}

// y from two operands of its type.
void from_two(const Call& call, Lowering& lowering, const char* family) {
  same_type(call);
  Pointwise args{};
  args.a = call.in[0].data;
  args.b = call.in[1].data;
  args.y = call.out[0].data;
  args.n = call.out[0].size();
  args.wide = wide(args.n, 8, {&call.in[0], &call.in[1], &call.out[0]});
  launch(lowering, kernel_for(family, {call.in[0].dtype}), args, call.out[0]);
}

// The second operand into the first.
void into_first(const Call& call, Lowering& lowering, const char* family) {
  Pointwise args{};
  args.a = call.in[1].data;
  args.y = call.in[0].data;
  args.n = call.in[0].size();
  args.wide = wide(args.n, 8, {&call.in[0], &call.in[1]});
  require(is_float(call.in[0]) && is_float(call.in[1]), "it is computed in f32 and bf16 only");
  launch(lowering, kernel_for(family, {call.in[0].dtype, call.in[1].dtype}), args, call.in[0]);
}

}  // namespace

void lower_add(const Call& call, Lowering& lowering) { from_two(call, lowering, "add"); }

void lower_add_bias(const Call& call, Lowering& lowering) {
  Pointwise args{};
  args.a = call.in[0].data;
  args.b = call.in[1].data;
  args.y = call.out[0].data;
  args.n = call.out[0].size();
  args.columns = call.in[1].size();
  args.wide = wide(args.n, args.columns, {&call.in[0], &call.in[1], &call.out[0]});
  launch(lowering, kernel_for("add_bias", {call.in[0].dtype, call.in[1].dtype}), args, call.out[0]);
}

void lower_swiglu(const Call& call, Lowering& lowering) { from_two(call, lowering, "swiglu"); }

void lower_swiglu_backward(const Call& call, Lowering& lowering) {
  same_type(call);
  Pointwise args{};
  args.a = call.in[0].data;
  args.b = call.in[1].data;
  args.c = call.in[2].data;
  args.y = call.out[0].data;
  args.z = call.out[1].data;
  args.n = call.out[0].size();
  args.wide = wide(args.n, 8, {&call.in[0], &call.in[1], &call.in[2], &call.out[0], &call.out[1]});
  launch(lowering, kernel_for("swiglu_backward", {call.in[0].dtype}), args, call.out[0]);
}

void lower_fill(const Call& call, Lowering& lowering) {
  fill(lowering, call.out[0], nullptr, static_cast<float>(call.attr("value")));
}

void lower_broadcast(const Call& call, Lowering& lowering) {
  require(call.in[0].dtype == call.out[0].dtype, "its operands have different types");
  fill(lowering, call.out[0], call.in[0].data, 0);
}

void lower_clear(const Call& call, Lowering& lowering) { fill(lowering, call.in[0], nullptr, 0); }

void lower_accumulate(const Call& call, Lowering& lowering) { into_first(call, lowering, "accumulate"); }

void lower_copy(const Call& call, Lowering& lowering) { into_first(call, lowering, "copy"); }

void lower_cache_write(const Call& call, Lowering& lowering) {
  const Operand& cache = call.in[0];
  const Operand& x = call.in[1];
  require(is_float(cache) && cache.dtype == x.dtype, "cache and rows have different types");
  CacheWrite args{};
  args.cache = cache.data;
  args.x = x.data;
  args.offset = call.in[2].as<int32_t>();
  args.T = x.shape.at(1);
  args.S = cache.shape.at(1);
  args.columns = x.columns();
  args.n = x.size();
  args.step = lowering.step();
  args.fault = lowering.fault();
  lowering.launch(kernel_for("cache_write", {x.dtype}), blocks_for(args.n), {kThreads}, args);
}

}  // namespace slayer::cuda
