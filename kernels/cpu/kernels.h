// Every CPU kernel, by the name of its op. A new one is a line here and a function in kernels/<family>/<op>.cc.
#pragma once

#include "kernel.h"

#define SLAYER_KERNELS(X)       \
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

#define SLAYER_DECLARE(op) void op(const Call&, Pool&);

namespace slayer::SLAYER_ISA {
SLAYER_KERNELS(SLAYER_DECLARE)
}  // namespace slayer::SLAYER_ISA
