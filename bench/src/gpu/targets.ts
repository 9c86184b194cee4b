import type { DevicePeaks } from "./device-peaks.js";
import type { Shape } from "./shapes.js";

/** What a kernel is to reach: a share of the peak that bounds it. */
export interface Target {
  readonly share: number;
  readonly of: "bf16" | "f32" | "bandwidth";
  /** Products that the kernel must make for each one that counts as a model FLOP: what is computed again is work too. */
  readonly work: number;
}

/**
 * Targets in % of an A100's peaks, set from the best published figures (bench/README.md has them), to be scaled by the
 * peaks of the device at hand. Attention's is for heads of 128, causal, 4096 tokens; its backward pass makes five products,
 * of which four are model FLOPs, as FlashAttention-2's figures count them; the LM head's makes the logits again. WGSL has no tensor cores: its
 * products are bounded by the ordinary ones whatever the type, and what else is made of products has no target there.
 */
export function targetOf({ op, attrs, inputs }: Shape, backend = "cuda"): Target | undefined {
  const f32 = inputs.every(({ dtype }) => dtype === "f32");
  const product = (share: number, work = 1): Target => ({ share, of: "bf16", work });
  const memory = (share: number): Target => ({ share, of: "bandwidth", work: 1 });
  const E = inputs[0]!.shape.at(-1)! / Number(attrs.heads);
  if (backend === "webgpu") {
    if (op === "matmul") return { share: 0.65, of: "f32", work: 1 };
    if (op.startsWith("attention") || op.startsWith("lm_head")) return undefined;
  }
  switch (op) {
    case "matmul":
    case "matmul_add":
    case "matmul_accumulate":
      if (f32) return { share: 0.8, of: "f32", work: 1 };
      return product(attrs.transposeA === true ? 0.72 : attrs.transposeB === true ? 0.78 : 0.76);
    case "matmul_swiglu":
      return product(0.78);
    case "attention":
      return E === 128 ? product(0.62) : undefined;
    case "attention_backward":
      return E === 128 ? product(0.53, 5 / 4) : undefined;
    case "lm_head_loss":
    case "lm_head_loss_with_gradient":
      return product(0.7);
    case "lm_head_loss_backward":
      return product(0.7, 1 + 1 / (Number(attrs.hidden) + Number(attrs.weight)));
    case "rmsnorm":
    case "rope":
    case "swiglu_backward":
      return memory(0.82);
    case "rmsnorm_backward_input":
    case "rmsnorm_backward_input_add":
    case "rmsnorm_backward_weight":
      return memory(0.7);
    case "swiglu":
    case "adamw":
      return memory(0.85);
    default:
      return undefined;
  }
}

/** The share of its peak that a kernel reached which made `flops` model FLOPs and moved `bytes` in `seconds`. */
export function reached(target: Target, flops: number, bytes: number, seconds: number, peaks: DevicePeaks): number {
  const rate = target.of === "bandwidth" ? bytes / seconds : (flops * target.work) / seconds;
  return rate / peaks[target.of];
}
