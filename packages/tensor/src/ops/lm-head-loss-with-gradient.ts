import { operandBytes, type OpDefinition, type View } from "../op.js";
import { columns, expectShape, rows, size } from "../shape.js";
import { lmHeadLossBackwardOp, lmHeadLossOp } from "./lm-head-loss.js";

/**
 * The loss of the LM head and its gradient from one set of logits: what lm_head_loss yields first and what lm_head_loss_backward yields, which
 * makes the logits again. (As Hsu et al. 2024, "Liger Kernel", section 3.2: the gradient is made in the forward pass.)
 * Operands dnll [N], h [..., D], W [V, D], targets i32 [...]; yields nll [N] and, as asked for, dh, dW. Nobody records it (see fuse.ts).
 */
export const lmHeadLossWithGradientOp: OpDefinition = {
  infer([dnll, h, w, targets], attrs) {
    const [nll, lse] = lmHeadLossOp.infer([h!, w!, targets!], {});
    const asked = attrs.hidden === true || attrs.weight === true;
    expectShape(
      size(dnll!.shape) === rows(h!.shape) && asked,
      "lm_head_loss_with_gradient",
      "dnll [N], h [..., D], W [V, D], targets i32 [...], and hidden or weight",
      dnll!,
      h!,
      w!,
      targets!,
    );
    return [nll!, ...lmHeadLossBackwardOp.infer([dnll!, h!, w!, targets!, lse!], attrs)];
  },
  cost(inputs, outputs, { hidden, weight }) {
    const [, h, w] = inputs;
    const logits = rows(h!.shape) * w!.shape[0]!;
    const matmulFlops = 2 * logits * columns(h!.shape) * (1 + Number(hidden) + Number(weight));
    return { flops: matmulFlops + 6 * logits, matmulFlops, bytes: operandBytes(...inputs, ...outputs) };
  },
  reference([dnll, h, w, targets], [nll, ...gradients], attrs) {
    const lse: View = { shape: nll!.shape, data: new Float64Array(size(nll!.shape)) };
    lmHeadLossOp.reference([h!, w!, targets!], [nll!, lse], {});
    lmHeadLossBackwardOp.reference([dnll!, h!, w!, targets!, lse], gradients, attrs);
  },
};
