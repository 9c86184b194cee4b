import { add, rmsnorm, swiglu, type Tensor } from "@slayer/tensor";
import type { BlockContext } from "./forward.js";
import { attend, linear } from "./layers.js";

/**
 * Block l of Mistral (Jiang et al. 2023): Llama's without biases, each token seeing only the last `slidingWindow` tokens,
 * itself included. Same numbers as Transformers' MistralForCausalLM.
 */
export function mistralBlock(c: BlockContext, l: number, x: Tensor): Tensor {
  const { hiddenSize: D, intermediateSize: F, heads, kvHeads, headDim: E, rmsNormEps, slidingWindow } = c.config;
  const path = `model.layers.${l}`;

  const h = rmsnorm(x, c.weight(`${path}.input_layernorm.weight`, [D]), rmsNormEps);
  const q = linear(c, h, `${path}.self_attn.q_proj`, heads * E, false);
  const k = linear(c, h, `${path}.self_attn.k_proj`, kvHeads * E, false);
  const v = linear(c, h, `${path}.self_attn.v_proj`, kvHeads * E, false);
  const o = linear(c, attend(c, l, q, k, v, slidingWindow ?? 0), `${path}.self_attn.o_proj`, D, false);
  const middle = add(x, o);

  const m = rmsnorm(middle, c.weight(`${path}.post_attention_layernorm.weight`, [D]), rmsNormEps);
  const gate = linear(c, m, `${path}.mlp.gate_proj`, F, false);
  const up = linear(c, m, `${path}.mlp.up_proj`, F, false);
  return add(middle, linear(c, swiglu(gate, up), `${path}.mlp.down_proj`, D, false));
}
