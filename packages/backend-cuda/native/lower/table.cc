#include "lowering.h"

namespace slayer::cuda {

// A new kernel's op is a line here, and a function in one of the files beside this one.
#define SLAYER_LOWERINGS(X)     \
  X(accumulate)                 \
  X(adamw)                      \
  X(add)                        \
  X(add_bias)                   \
  X(attention)                  \
  X(attention_backward)         \
  X(broadcast)                  \
  X(cache_write)                \
  X(clear)                      \
  X(clip_factor)                \
  X(copy)                       \
  X(dequantize)                 \
  X(embedding)                  \
  X(embedding_backward)         \
  X(fill)                       \
  X(lm_head_loss)               \
  X(lm_head_loss_backward)      \
  X(lm_head_loss_with_gradient) \
  X(matmul)                     \
  X(matmul_accumulate)          \
  X(matmul_add)                 \
  X(matmul_swiglu)              \
  X(rmsnorm)                    \
  X(rmsnorm_backward_input)     \
  X(rmsnorm_backward_input_add) \
  X(rmsnorm_backward_weight)    \
  X(rope)                       \
  X(sum)                        \
  X(sum_of_squares)             \
  X(sum_rows)                   \
  X(swiglu)                     \
  X(swiglu_backward)

#define SLAYER_DECLARE(op) void lower_##op(const Call&, Lowering&);
SLAYER_LOWERINGS(SLAYER_DECLARE)

#define SLAYER_ENTRY(op) {#op, lower_##op},
const LowerEntry kLowerings[] = {SLAYER_LOWERINGS(SLAYER_ENTRY){nullptr, nullptr}};

void Lowering::lower(const Call& call) {
  for (const LowerEntry* entry = kLowerings; entry->op != nullptr; entry++) {
    if (call.op != entry->op) continue;
    workspace_used_ = 0;
    entry->lower(call, *this);
    step_++;
    return;
  }
  throw Unsupported("there is no CUDA kernel for it");
}

std::string Lowering::choose(Product product) {
  const auto found = choices_.find(product.name);
  const auto& variants = product.variants;
  const bool known = found != choices_.end() && std::find(variants.begin(), variants.end(), found->second) != variants.end();
  const std::string variant = known ? found->second : variants.front();
  if (variants.size() > 1) products_.push_back(std::move(product));
  return variant;
}

}  // namespace slayer::cuda
