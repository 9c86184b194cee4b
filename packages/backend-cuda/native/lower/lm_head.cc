// The LM head's loss, its gradient, and both at once: products, and what lies between them (kernels/lm-head-loss/lm_head_loss.cu).
#include "lowering.h"

namespace slayer::cuda {

namespace {

constexpr int64_t kTile = 128;

// The LM head's rows, a panel at a time (never less than kTile): body(first row, rows, logits of the panel).
template <class F>
void for_panels(Lowering& lowering, const Operand& h, const Operand& w, F body) {
  const int64_t N = h.rows();
  const int64_t V = w.rows();
  const int64_t D = h.columns();
  const int64_t fitting = lowering.limits().panel_bytes / (V * 4) / kTile * kTile;
  const int64_t panel = std::min(N, std::max(fitting, kTile));
  float* const logits = lowering.workspace<float>(panel * V);
  for (int64_t first = 0; first < N; first += panel) {
    const int64_t rows = std::min(panel, N - first);
    const Matrix left{h.as<std::byte>() + first * D * static_cast<int64_t>(bytes_of(h.dtype)), h.dtype, rows, D, false};
    multiply(lowering, left, {w.data, w.dtype, V, D, true}, logits, DType::f32);
    body(first, rows, logits, left);
  }
}

// Operands and results of the LM head's ops, where an op has them.
struct LmHead {
  const Operand* dnll = nullptr;
  const Operand* h = nullptr;
  const Operand* w = nullptr;
  const Operand* targets = nullptr;
  const Operand* dh = nullptr;
  const Operand* dw = nullptr;

  int64_t vocabulary() const { return w->rows(); }
  // Sets dh and dw: results from `first` on.
  void results(const Call& call, size_t first) {
    const bool hidden = call.attr("hidden") != 0;
    if (hidden) dh = &call.out.at(first);
    if (call.attr("weight") != 0) dw = &call.out.at(first + (hidden ? 1 : 0));
    require(dnll->dtype == DType::f32, "the loss and its gradient are f32 only");
    require(dw == nullptr || dw->dtype == DType::f32, "a weight's gradient is f32 only");
  }
  Logits panel(Lowering& lowering, int64_t first, const float* logits) const {
    Logits args{};
    args.logits = logits;
    args.targets = targets->as<int32_t>() + first;
    args.V = static_cast<int32_t>(vocabulary());
    args.first = static_cast<int32_t>(first);
    args.wide = vocabulary() % 8 == 0;
    args.step = lowering.step();
    args.fault = lowering.fault();
    return args;
  }
};

// nll and log-sum-exp of a panel's rows.
void launch_loss(Lowering& lowering, Logits args, int64_t rows, float* nll, float* lse) {
  args.nll = nll;
  args.lse = lse;
  lowering.launch("lm_head_loss_rows_f32", {static_cast<uint32_t>(rows)}, {512}, args, 256);
}

// dh of a panel's rows, and what they add to dw; g is for their gradients of logits.
void launch_gradient(Lowering& lowering, const LmHead& head, Logits args, int64_t rows, const Matrix& panel, float* lse, std::byte* g) {
  const int64_t V = head.vocabulary();
  const int64_t D = head.h->columns();
  const DType dtype = head.h->dtype;
  args.lse = lse;
  args.dnll = head.dnll->as<float>() + args.first;
  args.g = g;
  lowering.launch(kernel_for("lm_head_loss_gradient", {dtype}), {static_cast<uint32_t>(rows)}, {1024}, args);
  if (head.dh != nullptr) {
    std::byte* const at = head.dh->as<std::byte>() + args.first * D * static_cast<int64_t>(bytes_of(head.dh->dtype));
    multiply(lowering, {g, dtype, rows, V, false}, {head.w->data, head.w->dtype, V, D, false}, at, head.dh->dtype);
  }
  if (head.dw != nullptr) {
    multiply(lowering, {g, dtype, rows, V, true}, panel, head.dw->data, DType::f32, args.first > 0 ? head.dw->data : nullptr);
  }
}

}  // namespace

void lower_lm_head_loss(const Call& call, Lowering& lowering) {
  LmHead head;
  head.h = &call.in[0];
  head.w = &call.in[1];
  head.targets = &call.in[2];
  const auto& [nll, lse] = std::tie(call.out[0], call.out[1]);
  require(nll.dtype == DType::f32, "the loss is f32 only");
  for_panels(lowering, *head.h, *head.w, [&](int64_t first, int64_t rows, const float* logits, const Matrix&) {
    launch_loss(lowering, head.panel(lowering, first, logits), rows, nll.as<float>() + first, lse.as<float>() + first);
  });
}

void lower_lm_head_loss_backward(const Call& call, Lowering& lowering) {
  LmHead head{&call.in[0], &call.in[1], &call.in[2], &call.in[3]};
  head.results(call, 0);
  require(call.in[4].dtype == DType::f32, "the loss and its gradient are f32 only");
  std::byte* g = nullptr;
  for_panels(lowering, *head.h, *head.w, [&](int64_t first, int64_t rows, const float* logits, const Matrix& panel) {
    if (first == 0) g = lowering.workspace<std::byte>(rows * head.vocabulary() * static_cast<int64_t>(bytes_of(head.h->dtype)));
    launch_gradient(lowering, head, head.panel(lowering, first, logits), rows, panel, call.in[4].as<float>() + first, g);
  });
}

void lower_lm_head_loss_with_gradient(const Call& call, Lowering& lowering) {
  LmHead head{&call.in[0], &call.in[1], &call.in[2], &call.in[3]};
  head.results(call, 1);
  require(call.out[0].dtype == DType::f32, "the loss is f32 only");
  std::byte* g = nullptr;
  float* lse = nullptr;
  for_panels(lowering, *head.h, *head.w, [&](int64_t first, int64_t rows, const float* logits, const Matrix& panel) {
    if (first == 0) {
      g = lowering.workspace<std::byte>(rows * head.vocabulary() * static_cast<int64_t>(bytes_of(head.h->dtype)));
      lse = lowering.workspace<float>(rows);
    }
    const Logits args = head.panel(lowering, first, logits);
    launch_loss(lowering, args, rows, call.out[0].as<float>() + first, lse);
    launch_gradient(lowering, head, args, rows, panel, lse, g);
  });
}

}  // namespace slayer::cuda
