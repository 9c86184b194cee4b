import type { Attrs, OpName } from "@slayer/tensor";
import type { KernelCase } from "./case.js";

interface Rule {
  /** Operands that become bf16. */
  readonly operands: readonly number[];
  readonly attrs?: Attrs;
  /** Results that are rounded to bf16; else they are f32, and as exact as the f32 case's. */
  readonly rounded?: boolean;
}

/** Weights as checkpoints store them, beside activations in f32: results are f32. */
const weights: Partial<Record<OpName, Rule>> = {
  add_bias: { operands: [1] },
  embedding: { operands: [0], attrs: { f32: true } },
  lm_head_loss: { operands: [1] },
  lm_head_loss_backward: { operands: [2] },
  lm_head_loss_with_gradient: { operands: [2] },
  matmul: { operands: [1] },
  matmul_add: { operands: [1] },
  rmsnorm: { operands: [1] },
  rmsnorm_backward_input: { operands: [2] },
  rmsnorm_backward_input_add: { operands: [2] },
};

/** Everything but sums over many elements (norms' r, log-sum-exp, losses, gradients of weights), which stay f32. */
const everything: Partial<Record<OpName, Rule>> = {
  add: { operands: [0, 1], rounded: true },
  add_bias: { operands: [0, 1], rounded: true },
  attention: { operands: [0, 1, 2], rounded: true },
  attention_backward: { operands: [0, 1, 2, 3, 4], rounded: true },
  cache_write: { operands: [0, 1] },
  embedding: { operands: [0] },
  embedding_backward: { operands: [0] },
  lm_head_loss: { operands: [0, 1] },
  lm_head_loss_backward: { operands: [1, 2], rounded: true },
  lm_head_loss_with_gradient: { operands: [1, 2], rounded: true },
  matmul: { operands: [0, 1], rounded: true },
  matmul_accumulate: { operands: [1, 2], attrs: { f32: true } },
  matmul_add: { operands: [0, 1, 2], rounded: true },
  matmul_swiglu: { operands: [0, 1, 2], rounded: true },
  rmsnorm: { operands: [0, 1], rounded: true },
  rmsnorm_backward_input: { operands: [0, 1, 2], rounded: true },
  rmsnorm_backward_input_add: { operands: [0, 1, 2, 4], rounded: true },
  rmsnorm_backward_weight: { operands: [0, 1] },
  rope: { operands: [0], rounded: true },
  sum: { operands: [0] },
  sum_of_squares: { operands: [0] },
  sum_rows: { operands: [0] },
  swiglu: { operands: [0, 1], rounded: true },
  swiglu_backward: { operands: [0, 1, 2], rounded: true },
};

const ROUNDED = {
  value: 2 ** -7,
  reason: "results rounded to bf16, half a unit in the last place is 2⁻⁸; as much for products that were rounded",
};

function stored(base: KernelCase, storage: NonNullable<KernelCase["storage"]>, rule: Rule): KernelCase {
  return {
    ...base,
    name: `${base.name}, ${storage}`,
    attrs: { ...base.attrs, ...rule.attrs },
    inputs: base.inputs.map((input, i) => (rule.operands.includes(i) ? { ...input, dtype: "bf16" } : input)),
    tolerance: rule.rounded ? ROUNDED : base.tolerance,
    storage,
  };
}

/** The same cases with operands stored in bf16. The gradient of a weight, matmul TN, is asked for in f32. */
export function bf16Cases(cases: readonly KernelCase[]): KernelCase[] {
  return cases.flatMap((base) => {
    const [w, all] = [weights[base.op], everything[base.op]];
    const gradient: Rule | undefined =
      base.op === "matmul" && base.attrs.transposeA ? { operands: [0, 1], attrs: { f32: true } } : all;
    return [...(w ? [stored(base, "bf16 weights", w)] : []), ...(gradient ? [stored(base, "bf16", gradient)] : [])];
  });
}
