import { definitionOf, type Kernel, type OpName } from "@slayer/tensor";

/** Operands that may be stored in bf16: weights. Activations, and whatever an op yields, are f32; `copy` converts. */
const inBf16: Partial<Record<OpName, readonly number[]>> = {
  adamw: [6],
  add_bias: [1],
  copy: [0, 1],
  embedding: [0],
  lm_head_loss: [1],
  lm_head_loss_backward: [2],
  lm_head_loss_with_gradient: [2],
  matmul: [1],
  rmsnorm: [1],
  rmsnorm_backward_input: [2],
  rmsnorm_backward_input_add: [2],
};

/** Whether an instruction set has a kernel for this op on operands of these types: true, or why not. */
export function supports(
  { op, attrs, inputs, outputs }: Kernel,
  isa: { readonly name: string; readonly ops: readonly string[] },
): true | string {
  if (!isa.ops.includes(op)) return `there is no ${isa.name} kernel for ${op}`;
  if (attrs.f64 || [...inputs, ...outputs].some(({ dtype }) => dtype === "f64")) {
    return "the cpu backend computes in f32; f64 is for the reference backend";
  }
  const weights = inBf16[op] ?? [];
  if (inputs.some(({ dtype }, i) => dtype === "bf16" && !weights.includes(i))) {
    return `the cpu backend has weights in bf16, but activations in f32; ${op} got ${inputs.map(({ dtype }) => dtype).join(", ")}`;
  }
  const changed = (definitionOf(op).mutates ?? []).filter((i) => !weights.includes(i));
  const results = [...outputs, ...changed.flatMap((i) => inputs[i] ?? [])];
  const integers = inputs[0]?.dtype === "i32" && op !== "dequantize"; // whose codes are that
  return (results.every(({ dtype }) => dtype === "f32") && !integers) || `${op} is computed in f32 only`;
}
