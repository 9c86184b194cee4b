import { add, rmsnorm, swiglu, type Tensor } from "@slayer/tensor";
import type { BlockContext } from "./forward.js";
import { attend, linear } from "./layers.js";

/**
 * Block l of Llama (Touvron et al. 2023) with grouped-query attention: x + attention(norm(x)), then that + mlp(norm(that)).
 * Same numbers as Transformers' LlamaForCausalLM.
 */
export function llamaBlock(c: BlockContext, l: number, x: Tensor): Tensor {
  const {
    hiddenSize: D,
    intermediateSize: F,
    heads,
    kvHeads,
    headDim: E,
    rmsNormEps,
    attentionBias,
    mlpBias,
  } = c.config;
  const path = `model.layers.${l}`;

  const h = rmsnorm(x, c.weight(`${path}.input_layernorm.weight`, [D]), rmsNormEps);
  const q = linear(c, h, `${path}.self_attn.q_proj`, heads * E, attentionBias);
  const k = linear(c, h, `${path}.self_attn.k_proj`, kvHeads * E, attentionBias);
  const v = linear(c, h, `${path}.self_attn.v_proj`, kvHeads * E, attentionBias);
  const o = linear(c, attend(c, l, q, k, v, 0), `${path}.self_attn.o_proj`, D, attentionBias);
  const middle = add(x, o);

  const m = rmsnorm(middle, c.weight(`${path}.post_attention_layernorm.weight`, [D]), rmsNormEps);
  const gate = linear(c, m, `${path}.mlp.gate_proj`, F, mlpBias);
  const up = linear(c, m, `${path}.mlp.up_proj`, F, mlpBias);
  return add(middle, linear(c, swiglu(gate, up), `${path}.mlp.down_proj`, D, mlpBias));
}
